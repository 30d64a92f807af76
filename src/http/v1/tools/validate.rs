//! What is sent to try a tool, field by field.

use serde_json::{Map, Value};

use super::wire::TestCallIn;
use crate::domain::error::Error;
use crate::http::fields::{Field, object};
use crate::http::v1::validate::{fields, flawed, short_text};
use crate::service::tools::test_call::Wanted;

pub(super) fn test_call(body: &[u8]) -> Result<Wanted, Error> {
    let sent: TestCallIn = fields(body)?;
    Ok(Wanted {
        arguments: map("arguments", sent.arguments)?,
        variables: map("variables", sent.variables)?,
        name: short_text("name", sent.name)?,
    })
}

/// Absent: empty.
fn map(field: &'static str, sent: Field) -> Result<Map<String, Value>, Error> {
    let Some(sent) = sent else { return Ok(Map::new()) };
    object(&sent).map_err(|flaw| flawed(field, flaw, "must be an object."))
}
