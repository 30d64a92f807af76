//! The `OpenAPI` document of all APIs, generated from the declarations that the router uses.

use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa::openapi::tag::TagBuilder;
use utoipa::openapi::{InfoBuilder, License, OpenApi, OpenApiBuilder};

use super::{operator, platform, widget};

/// The `OpenAPI` 3.1 document of this server.
#[must_use]
pub fn openapi() -> OpenApi {
    let widget = widget::routes(&|_, routes| routes, &|_, routes| routes).into_openapi();
    let platform = platform::routes(&|_, routes| routes).into_openapi();
    let operator = operator::routes().into_openapi();
    let tag = |name: &str, text: &str| TagBuilder::new().name(name).description(Some(text)).build();
    let head = OpenApiBuilder::new()
        .info(
            InfoBuilder::new()
                .title("Rejoinder")
                .version(env!("CARGO_PKG_VERSION"))
                .description(Some(env!("CARGO_PKG_DESCRIPTION")))
                .license(Some(License::new("MIT OR Apache-2.0")))
                .build(),
        )
        .tags(Some([
            tag("widget", "A chat widget in a browser; a conversation's UUID is its only credential."),
            tag("platform", "A back end with a bearer key."),
            tag("operator", "The operator of the server, who manages workspaces; with keys of its own."),
        ]))
        .build();
    let mut document = head.nest("/api", widget).nest("/v1", platform).nest("/operator/v1", operator);
    let key = HttpBuilder::new()
        .scheme(HttpAuthScheme::Bearer)
        .description(Some(
            "An API key of the workspace: `sk_…`, created by `rejoinder keys create` or `POST /v1/keys`.",
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
    document
}
