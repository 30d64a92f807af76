//! The tools of a file.

use std::collections::HashSet;

use super::document::{Entry, WorkspaceFileError};
use super::{FileTool, FileToolConfig};
use crate::domain::tool::{GivenSpec, TOOL_KINDS, unsupported_key};

pub(super) fn read(
    mut entry: Entry<'_>,
    calendars: &HashSet<String>,
) -> Result<FileTool, WorkspaceFileError> {
    let slug: String = entry.require("slug")?;
    let kind: String = entry.require("kind")?;
    if !TOOL_KINDS.contains(&kind.as_str()) {
        let known = TOOL_KINDS.join(", ");
        return Err(entry.error("kind", format_args!("\"{kind}\" is none of: {known}")));
    }
    let given = GivenSpec {
        name: entry.take("name")?,
        description: entry.take("description")?,
        parameters: entry.take("parameters")?,
        label: entry.take("label")?,
    };
    let config: FileToolConfig = entry
        .deserialize_variant(&kind)
        .map_err(|error| key_of_another_kind(&entry, &kind).unwrap_or(error))?;
    // A knowledge base is not looked up here: it may have been created through the API.
    if let Some(slug) = config.calendar().filter(|slug| !calendars.contains(*slug)) {
        return Err(entry.error("calendar", format_args!("there is no calendar \"{slug}\"")));
    }
    let label = given.label().map_err(|error| entry.invalid(&error))?;
    let spec = config.check(&slug, given).map_err(|error| entry.invalid(&error))?;
    Ok(FileTool { slug, spec, label, config })
}

/// The error for a key that another kind of tool has. Serde words it like a key that none has.
fn key_of_another_kind(entry: &Entry<'_>, kind: &str) -> Option<WorkspaceFileError> {
    let has = |kind: &str, key: &str, entry: &Entry<'_>| {
        let parsed = entry.deserialize_variant::<FileToolConfig>(kind);
        !parsed.is_err_and(|error| error.problem.contains(&format!(": unknown field `{key}`")))
    };
    let (key, _) = entry.split().find(|(key, entry)| {
        !has(kind, key, entry) && TOOL_KINDS.iter().any(|other| has(other, key, entry))
    })?;
    Some(entry.invalid(&unsupported_key(key, kind)))
}
