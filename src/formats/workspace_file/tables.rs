//! The table of the file that has a key, for a key that was written into another one.

use std::iter::once;

use serde::Deserialize;
use serde::de::value::{Error, MapAccessDeserializer, MapDeserializer};

use super::check::SECTIONS;
use super::{
    EnvName, FileConversation, FileEndpoint, FileToolConfig, FileWorkspace, WorkspaceFileError,
    knowledge_bases,
};
use crate::domain::assistant::AssistantVersion;
use crate::domain::calendar::{Caldav, CalendarRulesIn, HoursIn};
use crate::domain::retention::Retention;
use crate::domain::tool::TOOL_KINDS;
use crate::domain::widget_settings::WidgetSettings;
use crate::domain::workspace::Pricing;
use crate::formats::json_config::TOOL_FIELDS;

/// Says where an unknown key belongs, if exactly one other table has it.
pub(super) fn name_table_of_unknown_key(error: WorkspaceFileError) -> WorkspaceFileError {
    let Some(table) = error.unknown_key().and_then(table_of) else { return error };
    WorkspaceFileError { problem: format!("{}; it belongs {table}", error.problem), ..error }
}

/// The only table that has this key.
fn table_of(key: &str) -> Option<&'static str> {
    let tables = [
        ("at the top of the file", SECTIONS.contains(&key)),
        ("in [workspace]", has::<FileWorkspace>(key)),
        ("in [workspace.pricing]", has::<Pricing>(key)),
        ("in [workspace.retention]", has::<Retention>(key)),
        (
            "in [[assistants]]",
            ["id", "identity_secrets"].contains(&key) || has::<AssistantVersion<String>>(key),
        ),
        ("in [assistants.widget]", has::<WidgetSettings>(key)),
        ("in [[calendars]]", ["slug", "caldav"].contains(&key) || has::<CalendarRulesIn>(key)),
        ("in [calendars.hours]", has::<HoursIn>(key)),
        ("in [calendars.caldav]", has::<Caldav<EnvName>>(key)),
        ("in [[knowledge_bases]]", knowledge_bases::KEYS.contains(&key)),
        ("in [[tools]]", is_tool_key(key)),
        ("in [[webhook_endpoints]]", has::<FileEndpoint>(key)),
        ("in [[conversations]]", has::<FileConversation>(key)),
    ];
    let mut found = tables.into_iter().filter(|(_, has)| *has).map(|(table, _)| table);
    found.next().filter(|_| found.next().is_none())
}

fn is_tool_key(key: &str) -> bool {
    let of_kind = |kind: &str| {
        let variant = once((kind, MapDeserializer::<_, Error>::new(once((key, ())))));
        let variant = MapAccessDeserializer::new(MapDeserializer::<_, Error>::new(variant));
        is_known(FileToolConfig::deserialize(variant))
    };
    TOOL_FIELDS.contains(&key) || TOOL_KINDS.iter().any(|kind| of_kind(kind))
}

/// Whether a table that is read as `T` has this key: serde refuses an unknown key before it reads a value.
fn has<T: for<'de> Deserialize<'de>>(key: &str) -> bool {
    is_known(T::deserialize(MapDeserializer::<_, Error>::new(once((key, ())))))
}

fn is_known<T>(parsed: Result<T, Error>) -> bool {
    !parsed.is_err_and(|error| error.to_string().starts_with("unknown field"))
}
