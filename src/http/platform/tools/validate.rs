//! What is sent to try a tool, field by field.

use serde_json::{Map, Value};

use super::wire::TestCallIn;
use crate::domain::error::Error;
use crate::http::fields::{Field, object};
use crate::http::platform::validate::{fields, invalid_field, short_text};
use crate::service::tools::test_call::TestCallRequest;

pub(super) fn test_call(body: &[u8]) -> Result<TestCallRequest, Error> {
    let input: TestCallIn = fields(body)?;
    Ok(TestCallRequest {
        arguments: map("arguments", input.arguments)?,
        variables: map("variables", input.variables)?,
        name: short_text("name", input.name)?,
    })
}

/// Absent: empty.
fn map(field: &'static str, input: Field) -> Result<Map<String, Value>, Error> {
    let Some(input) = input else { return Ok(Map::new()) };
    object(&input).map_err(|kind| invalid_field(field, kind, "must be an object."))
}
