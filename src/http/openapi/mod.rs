//! The `OpenAPI` document of all APIs, generated from the declarations that the router uses.

mod complete;
mod errors;
mod headers;
mod responses;
mod webhooks;

use utoipa::ToSchema;
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa::openapi::server::ServerBuilder;
use utoipa::openapi::tag::TagBuilder;
use utoipa::openapi::{InfoBuilder, License, OpenApi, OpenApiBuilder, RefOr, Schema};

use super::ui_message_stream::Chunk;
use super::widget::VisitorEvent;
use super::{operator, platform, widget};
use crate::domain::render::EventOut;

pub(super) use errors::error_schema;
pub(super) use headers::describe_header;

/// The `OpenAPI` 3.1 document of this server.
#[must_use]
pub fn openapi() -> OpenApi {
    let widget = widget::routes(&|_, routes| routes, &|_, routes| routes).into_openapi();
    let platform = platform::routes(&|_, routes| routes).into_openapi();
    let operator = operator::routes().into_openapi();
    let tag = |name: &str, text: &str| TagBuilder::new().name(name).description(Some(text)).build();
    let mut license = License::new("MIT OR Apache-2.0");
    license.identifier = Some(license.name.clone());
    let head = OpenApiBuilder::new()
        .info(
            InfoBuilder::new()
                .title("Rejoinder")
                .version(env!("CARGO_PKG_VERSION"))
                .description(Some(env!("CARGO_PKG_DESCRIPTION")))
                .license(Some(license))
                .build(),
        )
        .servers(Some([ServerBuilder::new().url("/").description(Some("This server")).build()]))
        .tags(Some([
            tag("widget", "A chat widget in a browser; a conversation's UUID is its only credential."),
            tag("platform", "A back end with a bearer key."),
            tag("webhooks", "The requests that this server sends to webhook endpoints."),
            tag("operator", "The operator of the server, who manages workspaces; with keys of its own."),
        ]))
        .build();
    let mut document = head.nest("/api", widget).nest("/v1", platform).nest("/operator/v1", operator);
    let key = HttpBuilder::new()
        .scheme(HttpAuthScheme::Bearer)
        .description(Some(
            "An API key of the workspace: `sk_…`, created by `rejoinder keys create` or `POST /v1/keys`. Each operation names the scope \
             that it needs.",
        ))
        .build();
    let components = document.components.get_or_insert_default();
    components.add_security_scheme("bearer", SecurityScheme::Http(key));
    let operator_key = HttpBuilder::new()
        .scheme(HttpAuthScheme::Bearer)
        .description(Some(
            "A key of the operator's API: `op_…`, created by `rejoinder operator keys create`.",
        ))
        .build();
    components.add_security_scheme("operator", SecurityScheme::Http(operator_key));
    for (name, schema) in errors::schemas() {
        components.schemas.insert(name.to_owned(), schema.into());
    }
    let mut schemas = named::<EventOut<'_>>();
    schemas.extend(named::<Chunk<'_>>());
    schemas.extend(named::<VisitorEvent>());
    components.schemas.extend(schemas);
    document.webhooks = Some(webhooks::webhooks());
    complete::complete(&mut document);
    responses::share_errors(&mut document.paths, document.components.get_or_insert_default());
    document
}

/// A schema with all that it refers to.
fn named<T: ToSchema>() -> Vec<(String, RefOr<Schema>)> {
    let mut schemas = vec![(T::name().into_owned(), T::schema())];
    T::schemas(&mut schemas);
    schemas
}
