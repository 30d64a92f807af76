//! The schemas of error bodies.

use serde_json::Value;
use utoipa::openapi::schema::{ArrayBuilder, ObjectBuilder, OneOfBuilder, Ref, Schema};
use utoipa::openapi::{RefOr, Type};

use crate::domain::schema::words;

const PLATFORM: &str = "PlatformError";
const WIDGET: &str = "WidgetError";
const WIDGET_FIELDS: &str = "WidgetFieldErrors";
const WIDGET_LIMIT: &str = "WidgetLimitError";
const WIDGET_KEY: &str = "WidgetKeyError";

/// The schema of one of these bodies.
pub(in crate::http) fn error_schema(bodies: &[Value]) -> RefOr<Schema> {
    let mut names: Vec<_> = bodies.iter().map(name_of).collect();
    names.sort_unstable();
    names.dedup();
    if let [name] = names.as_slice() {
        return Ref::from_schema_name(*name).into();
    }
    let variants = names.into_iter().map(Ref::from_schema_name);
    variants.fold(OneOfBuilder::new(), OneOfBuilder::item).into()
}

/// The name of the schema of a body: each has a field that the others lack.
fn name_of(body: &Value) -> &'static str {
    let has = |field: &str| body.get(field).is_some();
    if has("data") {
        PLATFORM
    } else if has("errors") {
        WIDGET_FIELDS
    } else if has("retry_after") {
        WIDGET_LIMIT
    } else if has("status") {
        WIDGET
    } else {
        WIDGET_KEY
    }
}

/// All schemas of error bodies.
pub(super) fn schemas() -> [(&'static str, ObjectBuilder); 5] {
    let text = || ObjectBuilder::new().schema_type(Type::String);
    let null = ObjectBuilder::new().schema_type(Type::Null);
    let is_false = ObjectBuilder::new().schema_type(Type::Boolean).enum_values(Some([false]));
    let texts = ArrayBuilder::new().items(text());
    let by_field = ObjectBuilder::new().schema_type(Type::Object).additional_properties(Some(texts));
    let seconds = ObjectBuilder::new().schema_type(Type::Integer).minimum(Some(1));
    [
        (
            PLATFORM,
            object("An error of the platform API. The header `Rejoinder-Error` has its code.")
                .property("status", words(["error"]))
                .property("message", text())
                .property("data", null)
                .required("status")
                .required("message")
                .required("data"),
        ),
        (
            WIDGET,
            object("An error of the widget API. The header `Rejoinder-Error` has its code.")
                .property("status", is_false)
                .property("error", text())
                .required("status")
                .required("error"),
        ),
        (
            WIDGET_FIELDS,
            object("Errors of the fields of a request to the widget API.")
                .property(
                    "message",
                    text().description(Some("The first error, and the number of the others.")),
                )
                .property("errors", by_field.description(Some("The errors by field.")))
                .required("message")
                .required("errors"),
        ),
        (
            WIDGET_LIMIT,
            object("A limit of the widget API is reached.")
                .property("message", text())
                .property("retry_after", seconds.description(Some("The seconds to wait.")))
                .required("message")
                .required("retry_after"),
        ),
        (
            WIDGET_KEY,
            object("An API key is missing, invalid, revoked or expired.")
                .property("error", text())
                .required("error"),
        ),
    ]
}

fn object(description: &str) -> ObjectBuilder {
    ObjectBuilder::new().schema_type(Type::Object).description(Some(description))
}
