//! The changes that an apply made, as the command prints them.

use std::fmt;

use serde::{Serialize, Serializer};
use serde_json::Value;
use uuid::Uuid;

use crate::domain::audit::ObjectKind;
use crate::domain::ids::{CalendarId, ToolId};
use crate::store::workspace_config::Section;

/// A changed entry: `assistant front-desk: changed system_prompt, tools`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Change {
    /// `workspace`, `assistant`, `calendar`, `knowledge base`, `document`, `tool`, `webhook endpoint` or
    /// `conversation`.
    pub section: &'static str,
    /// The slug, or the widget UUID of a conversation.
    pub name: String,
    pub action: Action,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    Created,
    /// The keys that changed.
    Changed(Vec<String>),
    /// No longer in the file, and unused. It is not deleted.
    Archived,
    /// No longer in the file, and deleted.
    Removed,
    /// In use again.
    Restored,
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}: {}", self.section, self.name, self.action)
    }
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Created => f.write_str("made"),
            Self::Changed(keys) => write!(f, "changed {}", keys.join(", ")),
            Self::Archived => f.write_str("archived"),
            Self::Removed => f.write_str("removed"),
            Self::Restored => f.write_str("restored"),
        }
    }
}

/// Serialized as its text.
impl Serialize for Action {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl Action {
    /// The action for an entry whose `keys` differ. `was_archived` is `None` if the entry did not exist. Returns `None`
    /// if nothing changes.
    pub(super) fn of(was_archived: Option<bool>, keys: Vec<String>) -> Option<Self> {
        match was_archived {
            None => Some(Self::Created),
            Some(true) => Some(Self::Restored),
            Some(false) if keys.is_empty() => None,
            Some(false) => Some(Self::Changed(keys)),
        }
    }
}

/// The keys that differ.
pub(super) fn differing<const N: usize>(keys: [(&str, bool); N]) -> Vec<String> {
    keys.into_iter().filter(|(_, differs)| *differs).map(|(key, _)| key.to_owned()).collect()
}

pub(super) fn object_kind(section: Section) -> ObjectKind {
    match section {
        Section::Calendars => ObjectKind::Calendar,
        Section::Tools => ObjectKind::Tool,
    }
}

/// The id of a calendar or a tool.
pub(super) fn id_text(section: Section, id: Uuid) -> String {
    match section {
        Section::Calendars => CalendarId(id).to_string(),
        Section::Tools => ToolId(id).to_string(),
    }
}

/// The keys in which two JSON texts differ. Values are not shown, because some are secrets.
pub(super) fn changed_keys(old: &str, new: &str) -> Vec<String> {
    if old == new {
        return Vec::new();
    }
    let object = |text: &str| match serde_json::from_str(text) {
        Ok(Value::Object(object)) => object,
        Ok(_) | Err(_) => serde_json::Map::new(),
    };
    let (old, new) = (object(old), object(new));
    let keys = new.keys().chain(old.keys().filter(|key| !new.contains_key(*key)));
    let changed_keys: Vec<_> = keys.filter(|key| old.get(*key) != new.get(*key)).cloned().collect();
    if changed_keys.is_empty() { vec!["the order of keys".to_owned()] } else { changed_keys }
}
