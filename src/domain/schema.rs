//! Schemas of values that the APIs share, for the `OpenAPI` document.

use utoipa::openapi::Type;
use utoipa::openapi::schema::ObjectBuilder;

/// The schema of a closed set of words.
#[must_use]
pub fn words(words: impl IntoIterator<Item = &'static str>) -> ObjectBuilder {
    ObjectBuilder::new().schema_type(Type::String).enum_values(Some(words))
}
