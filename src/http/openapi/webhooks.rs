//! The requests that the server sends to webhook endpoints.

use utoipa::ToSchema as _;
use utoipa::openapi::path::{
    HttpMethod, Operation, OperationBuilder, Parameter, ParameterBuilder, ParameterIn, PathItem, Paths,
};
use utoipa::openapi::request_body::RequestBodyBuilder;
use utoipa::openapi::schema::{ObjectBuilder, Ref, Schema};
use utoipa::openapi::{ContentBuilder, RefOr, Required, ResponseBuilder, Type};

use crate::domain::event::EventType;
use crate::domain::ids::EventId;
use crate::domain::render::variant_name;
use crate::domain::schema::{pattern, words};

/// One request for each type of event.
pub(super) fn webhooks() -> Paths {
    let mut webhooks = Paths::new();
    for kind in EventType::ALL {
        let item = PathItem::new(HttpMethod::Post, operation(*kind));
        webhooks.paths.insert(kind.as_str().to_owned(), item);
    }
    webhooks
}

fn operation(kind: EventType) -> Operation {
    let event = variant_name(kind);
    let content = ContentBuilder::new().schema(Some(Ref::from_schema_name(&event))).build();
    let body = RequestBodyBuilder::new().content("application/json", content).required(Some(Required::True));
    let answer = |description: &str| ResponseBuilder::new().description(description).build();
    let operation = OperationBuilder::new()
        .tag("webhooks")
        .operation_id(Some(format!("on{event}")))
        .summary(Some(format!("Receive `{}`.", kind.as_str())))
        .description(Some(
            "The server sends it to the workspace's webhook endpoints, signed as Standard Webhooks 1.0 describes.",
        ))
        .securities(Some([]))
        .request_body(Some(body.build()))
        .response("2XX", answer("The event is delivered"))
        .response("410", answer("The endpoint is disabled: it wants no more events"))
        .response("4XX", answer("The delivery is retried"))
        .response("5XX", answer("The delivery is retried"));
    headers().into_iter().fold(operation, OperationBuilder::parameter).build()
}

/// The headers of every delivery.
fn headers() -> [Parameter; 4] {
    let seconds = ObjectBuilder::new().schema_type(Type::Integer).into();
    let signature = pattern("^v1,[A-Za-z0-9+/]{43}=( v1,[A-Za-z0-9+/]{43}=)*$").into();
    [
        header(
            "webhook-id",
            Required::True,
            "The id of the event",
            Ref::from_schema_name(EventId::name()).into(),
        ),
        header("webhook-timestamp", Required::True, "The Unix time of the attempt, in seconds", seconds),
        header(
            "webhook-signature",
            Required::True,
            "The HMAC-SHA256 of `id.timestamp.body` in base64, for each secret that signs",
            signature,
        ),
        header("webhook-replay", Required::False, "Whether it was sent before", words(["true"]).into()),
    ]
}

fn header(name: &str, required: Required, description: &str, schema: RefOr<Schema>) -> Parameter {
    ParameterBuilder::new()
        .name(name)
        .parameter_in(ParameterIn::Header)
        .required(required)
        .description(Some(description))
        .schema(Some(schema))
        .build()
}
