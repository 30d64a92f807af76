//! Configuration layers: merged tables that remember where each setting was written, for errors.

use std::fs;
use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;
use serde_path_to_error::Segment;
use toml::de::DeTable;
use toml::{Table, Value};

use super::{ConfigError, DEFAULTS, Origin};

/// Variables with other names than `REJOINDER_…`, and their settings.
const ENV_ALIASES: [(&str, &str); 5] = [
    ("DATABASE_URL", "database.url"),
    ("OPENAI_API_KEY", "model.api_key"),
    ("OPENAI_BASE_URL", "model.base_url"),
    ("OPENAI_MODEL", "model.model"),
    ("RUST_LOG", "log.filter"),
];

const PREFIX: &str = "REJOINDER_";

/// The merged settings with their origins.
pub(super) struct Layers {
    merged: Table,
    /// Path and text of the merged file.
    file: Option<(PathBuf, String)>,
    /// Dotted setting and name of each merged variable, the strongest last.
    variables: Vec<(String, String)>,
}

impl Layers {
    /// Only the embedded defaults.
    pub(super) fn defaults() -> Result<Self, ConfigError> {
        let merged = parse(Path::new("default.toml"), DEFAULTS)?;
        Ok(Self { merged, file: None, variables: Vec::new() })
    }

    /// Merges a TOML file over the current settings.
    pub(super) fn merge_file(&mut self, path: &Path) -> Result<(), ConfigError> {
        let unreadable = |source| ConfigError::Unreadable { path: path.to_owned(), source };
        let text = fs::read_to_string(path).map_err(unreadable)?;
        merge(&mut self.merged, parse(path, &text)?);
        self.file = Some((path.to_owned(), text));
        Ok(())
    }

    /// Merges the variables that are settings and ignores all others.
    pub(super) fn merge_environment(
        &mut self,
        env: impl Iterator<Item = (String, String)>,
    ) -> Result<(), ConfigError> {
        let mut settings = Vec::new();
        for (name, value) in env {
            if let Some((_, setting)) = ENV_ALIASES.iter().find(|(alias, _)| *alias == name) {
                if !value.trim().is_empty() {
                    settings.push((false, (*setting).to_owned(), name, value));
                }
            } else if let Some(rest) = name.strip_prefix(PREFIX)
                && !is_service_link(rest, &value)
            {
                settings.push((true, rest.to_lowercase().replace("__", "."), name, value));
            }
        }
        // If a setting is given under both names, the `REJOINDER_` name wins.
        settings.sort();
        for (_, setting, name, value) in settings {
            self.variables.push((setting.clone(), name));
            self.merge_variable(&setting, value)?;
        }
        Ok(())
    }

    fn merge_variable(&mut self, setting: &str, text: String) -> Result<(), ConfigError> {
        let mut sections: Vec<&str> = setting.split('.').collect();
        let key = sections.pop().unwrap_or_default();
        let mut table = Some(&mut self.merged);
        for section in sections {
            table = table
                .and_then(|t| t.entry(section).or_insert_with(|| Value::Table(Table::new())).as_table_mut());
        }
        let Some(table) = table else {
            return Err(self.error(setting, "there is no such setting".to_owned()));
        };
        let value = match table.get(key) {
            Some(Value::Array(_)) => Value::Array(split_list(&text)),
            _ => Value::String(text),
        };
        table.insert(key.to_owned(), value);
        Ok(())
    }

    /// Reads the settings into their types.
    pub(super) fn read<T: DeserializeOwned>(&self) -> Result<T, ConfigError> {
        serde_path_to_error::deserialize(self.merged.clone()).map_err(|error| {
            let keys: Vec<&str> = error.path().iter().filter_map(key_of).collect();
            self.error(&keys.join("."), without_value(error.inner().message()))
        })
    }

    /// An error about `setting`, with its origin.
    pub(super) fn error(&self, setting: &str, message: String) -> ConfigError {
        ConfigError::Setting { setting: setting.to_owned(), origin: self.origin(setting), message }
    }

    fn origin(&self, setting: &str) -> Origin {
        if let Some((_, name)) = self.variables.iter().rev().find(|(known, _)| known == setting) {
            return Origin::Environment(name.clone());
        }
        if let Some((path, text)) = &self.file
            && let Some(line) = line_of(text, setting)
        {
            return Origin::File { path: path.clone(), line };
        }
        // A whole section that one variable made invalid.
        let is_below = |known: &str| known.strip_prefix(setting).is_some_and(|rest| rest.starts_with('.'));
        match self.variables.iter().rev().find(|(known, _)| is_below(known)) {
            Some((_, name)) => Origin::Environment(name.clone()),
            None => Origin::Default,
        }
    }
}

/// Kubernetes gives each pod the addresses of every service: a service called `rejoinder` makes
/// `REJOINDER_SERVICE_HOST`, `REJOINDER_PORT=tcp://…` and the like, which are not settings.
fn is_service_link(rest: &str, value: &str) -> bool {
    rest == "SERVICE_HOST"
        || rest.starts_with("SERVICE_PORT")
        || (rest == "PORT" && value.contains("://"))
        || rest.strip_prefix("PORT_").is_some_and(|port| port.starts_with(|c: char| c.is_ascii_digit()))
}

fn split_list(text: &str) -> Vec<Value> {
    text.split(',').map(str::trim).filter(|item| !item.is_empty()).map(Value::from).collect()
}

fn key_of(segment: &Segment) -> Option<&str> {
    match segment {
        Segment::Map { key } => Some(key),
        Segment::Seq { .. } | Segment::Enum { .. } | Segment::Unknown => None,
    }
}

/// The message of serde in our words, without the value that it quotes for a type error.
fn without_value(message: &str) -> String {
    match message.split_once(", expected ") {
        Some((found, expected)) if found.starts_with("invalid") => format!("expected {expected}"),
        _ => message.replace("unknown field", "there is no setting"),
    }
}

/// Parses TOML. The error omits the line itself, which may contain a secret.
fn parse(path: &Path, text: &str) -> Result<Table, ConfigError> {
    text.parse().map_err(|error: toml::de::Error| ConfigError::Syntax {
        path: path.to_owned(),
        line: line_at(text, error.span().map_or(0, |span| span.start)),
        message: error.message().to_owned(),
    })
}

fn merge(base: &mut Table, overlay: Table) {
    for (key, value) in overlay {
        match (base.get_mut(&key), value) {
            (Some(Value::Table(base)), Value::Table(overlay)) => merge(base, overlay),
            (_, value) => {
                base.insert(key, value);
            }
        }
    }
}

/// The line, from 1, on which a dotted setting is written.
fn line_of(text: &str, setting: &str) -> Option<usize> {
    let document = DeTable::parse(text).ok()?;
    let mut table = Some(document.get_ref());
    let mut line = None;
    for key in setting.split('.') {
        let (spanned_key, value) = table?.iter().find(|(spanned_key, _)| spanned_key.get_ref() == key)?;
        line = Some(line_at(text, spanned_key.span().start));
        table = value.get_ref().as_table();
    }
    line
}

/// The line, from 1, of a byte offset.
fn line_at(text: &str, offset: usize) -> usize {
    text.bytes().take(offset).filter(|byte| *byte == b'\n').count() + 1
}
