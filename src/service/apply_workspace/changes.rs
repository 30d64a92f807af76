//! The changes that an apply made, as the command prints them.

use std::fmt;

use serde::{Serialize, Serializer};
use serde_json::Value;

use crate::store::workspace_config::Section;

/// One thing that was changed: `assistant front-desk: changed system_prompt, tools`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Change {
    /// `workspace`, `assistant`, `calendar`, `knowledge base`, `document`, `tool`, `webhook endpoint` or
    /// `conversation`.
    pub section: &'static str,
    /// The slug; a conversation's widget UUID.
    pub name: String,
    pub action: Action,
}

/// How it changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    Created,
    /// Which of its keys have changed.
    Changed(Vec<String>),
    /// No longer in the file: unused, but not deleted.
    Archived,
    /// The file has it no longer: gone.
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

/// As it is shown.
impl Serialize for Action {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

pub(super) fn section_name(section: Section) -> &'static str {
    match section {
        Section::Calendars => "calendar",
        Section::Tools => "tool",
    }
}

/// The keys in which two JSON objects differ; values are not shown, for some are secrets.
pub(super) fn changed_keys(old: &str, new: &str) -> Vec<String> {
    let object = |text: &str| match serde_json::from_str(text) {
        Ok(Value::Object(object)) => object,
        Ok(_) | Err(_) => serde_json::Map::new(),
    };
    let (old, new) = (object(old), object(new));
    let keys = new.keys().chain(old.keys().filter(|key| !new.contains_key(*key)));
    let changed_keys: Vec<_> = keys.filter(|key| old.get(*key) != new.get(*key)).cloned().collect();
    if changed_keys.is_empty() { vec!["the order of keys".to_owned()] } else { changed_keys }
}
