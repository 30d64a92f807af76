//! Configuration layers: merged tables that remember where each setting was written, for errors.

use std::fs;
use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;
use serde_path_to_error::Segment;
use toml::de::DeTable;
use toml::{Table, Value};

use super::{ConfigError, DEFAULTS, Origin, variables};

/// The beginning of the message about a name that is not a setting.
const NO_SETTING: &str = "there is no setting";

/// The most edits between a misspelled setting and the one that is suggested, as a share of its length.
const MAX_EDITS: (usize, usize) = (1, 5);

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

    /// Merges the variables that are settings, and the files that they name, and ignores all others.
    pub(super) fn merge_environment(
        &mut self,
        env: impl Iterator<Item = (String, String)>,
    ) -> Result<(), ConfigError> {
        let has_default = |setting: &str| find(&self.merged, setting).is_some();
        for variable in variables::settings_of(env, has_default)? {
            self.variables.push((variable.setting.clone(), variable.name));
            self.merge_variable(&variable.setting, variable.value)?;
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
            let setting = keys.join(".");
            let message = without_value(error.inner().message());
            match message.split_once(", expected ") {
                Some((unknown, _)) if unknown.starts_with(NO_SETTING) => {
                    let suggested = self.suggest(&setting);
                    self.error(
                        &setting,
                        suggested.map_or(message.clone(), |name| format!("{unknown}; {name}")),
                    )
                }
                _ => self.error(&setting, message),
            }
        })
    }

    /// An error about `setting`, with its origin.
    pub(super) fn error(&self, setting: &str, message: String) -> ConfigError {
        ConfigError::Setting { setting: setting.to_owned(), origin: self.origin(setting), message }
    }

    /// The setting that was probably meant, in the notation of where it was written.
    fn suggest(&self, setting: &str) -> Option<String> {
        let is_variable = matches!(self.origin(setting), Origin::Environment(_));
        // If the section does not exist, the variable says more than the section.
        let below = self.variables.iter().rev().find(|(known, _)| is_below(known, setting));
        let written = below.map_or(setting, |(known, _)| known);
        let mut known = Vec::new();
        names(&DEFAULTS.parse().ok()?, "", &mut known);
        // `database_url` is the most frequent mistake.
        let plain = |name: &str| name.replace('.', "_");
        let edits = |name: &str| strsim::damerau_levenshtein(&plain(name), &plain(written));
        let (extra, share) = MAX_EDITS;
        let closest = known.into_iter().min_by_key(|name| edits(name))?;
        let is_close = edits(&closest) <= extra + written.len() / share;
        let name = if is_variable { variables::variable_of(&closest) } else { closest };
        is_close.then(|| format!("did you mean `{name}`?"))
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
        match self.variables.iter().rev().find(|(known, _)| is_below(known, setting)) {
            Some((_, name)) => Origin::Environment(name.clone()),
            None => Origin::Default,
        }
    }
}

fn is_below(setting: &str, section: &str) -> bool {
    setting.strip_prefix(section).is_some_and(|rest| rest.starts_with('.'))
}

/// The value of a dotted setting.
fn find<'t>(table: &'t Table, setting: &str) -> Option<&'t Value> {
    let (section, rest) = setting.split_once('.').unwrap_or((setting, ""));
    let value = table.get(section)?;
    if rest.is_empty() { Some(value) } else { find(value.as_table()?, rest) }
}

/// The dotted names of all settings and sections below a table.
fn names(table: &Table, prefix: &str, found: &mut Vec<String>) {
    for (key, value) in table {
        let name = format!("{prefix}{key}");
        if let Some(section) = value.as_table() {
            names(section, &format!("{name}."), found);
        }
        found.push(name);
    }
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
        _ => message.replace("unknown field", NO_SETTING),
    }
}

/// Parses TOML. The error omits the line itself, which may contain a secret.
fn parse(path: &Path, text: &str) -> Result<Table, ConfigError> {
    const KINDS: [&str; 4] = ["invalid float", "invalid integer", "invalid datetime", "invalid boolean"];
    text.parse().map_err(|error: toml::de::Error| ConfigError::Syntax {
        path: path.to_owned(),
        line: line_at(text, error.span().map_or(0, |span| span.start)),
        message: match error.message() {
            // What TOML calls a value of another kind is mostly a text without quotes.
            message if KINDS.iter().any(|kind| message.starts_with(kind)) => {
                format!("{message}; a string must be in quotes")
            }
            message => message.to_owned(),
        },
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
