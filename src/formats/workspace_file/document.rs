//! The file as TOML with source positions: the checks of every value, its entries, and the line of an error.

use std::fmt;
use std::ops::Range;

use serde::de::value::{MapAccessDeserializer, MapDeserializer};
use serde::{Deserialize, Deserializer};
use serde_path_to_error::Segment;
use toml::Spanned;
use toml::de::{DeTable, DeValue, ValueDeserializer};

use crate::domain::invalid_field::InvalidField;

/// An error in a workspace file: `line 12: tools[0].url: …`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WorkspaceFileError {
    /// Counted from 1; none if the error is a missing section.
    pub line: Option<usize>,
    pub problem: String,
}

impl fmt::Display for WorkspaceFileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(line) = self.line {
            write!(f, "line {line}: ")?;
        }
        f.write_str(&self.problem)
    }
}

impl std::error::Error for WorkspaceFileError {}

impl WorkspaceFileError {
    /// The same problem, found at `path`.
    fn within(self, path: &str) -> Self {
        if path.is_empty() { self } else { Self { problem: format!("{path}: {}", self.problem), ..self } }
    }

    /// An error at `path`, such as `tools[0].url`, in the text of a file.
    pub(crate) fn at(text: &str, path: &str, problem: impl fmt::Display) -> Self {
        match Document::parse(text) {
            Ok(document) => document.error(path, problem),
            Err(error) => error,
        }
    }

    /// The key of the file that nothing knows at its location, if that is the problem.
    pub(super) fn unknown_key(&self) -> Option<&str> {
        let (_, rest) = self.problem.split_once(": unknown field `")?;
        Some(rest.split_once('`')?.0)
    }

    /// The same location, with a problem.
    #[must_use]
    pub fn with_problem(&self, problem: impl fmt::Display) -> Self {
        Self { line: self.line, problem: format!("{}: {problem}", self.problem) }
    }
}

/// A parsed file.
pub(super) struct Document<'t> {
    text: &'t str,
    root: DeTable<'t>,
}

impl<'t> Document<'t> {
    pub(super) fn parse(text: &'t str) -> Result<Self, WorkspaceFileError> {
        let root = DeTable::parse(text).map_err(|error| toml_error(text, &error))?;
        let document = Self { text, root: root.into_inner() };
        for (key, value) in &document.root {
            document.check_value(key.get_ref(), value)?;
        }
        Ok(document)
    }

    /// The whole file.
    pub(super) fn root(&self) -> Entry<'_> {
        let (path, span, keys) = (String::new(), 0..self.text.len(), self.root.clone());
        Entry { document: self, path, span, keys, read: Vec::new() }
    }

    /// Reads the value at `path`. An error names the field in it.
    fn read<'d, T: Deserialize<'d>>(
        &self,
        path: &str,
        value: impl Deserializer<'d, Error = toml::de::Error>,
    ) -> Result<T, WorkspaceFileError> {
        serde_path_to_error::deserialize(value).map_err(|error| {
            let mut path = path.to_owned();
            for segment in error.path() {
                match segment {
                    Segment::Seq { index } => path = format!("{path}[{index}]"),
                    Segment::Map { key } => path = join_path(&path, key),
                    // The kind of a tool is a variant, and no key.
                    Segment::Enum { .. } | Segment::Unknown => {}
                }
            }
            toml_error(self.text, error.inner()).within(&path)
        })
    }

    /// An error at `path`, such as `tools[0].url`.
    fn error(&self, path: &str, problem: impl fmt::Display) -> WorkspaceFileError {
        WorkspaceFileError { line: self.line_of(path), problem: format!("{path}: {problem}") }
    }

    /// The line of the deepest part of a path that the file contains.
    fn line_of(&self, path: &str) -> Option<usize> {
        let mut table = Some(&self.root);
        let mut line = None;
        for part in path.split('.') {
            let (key, index) = match part.split_once('[') {
                Some((key, index)) => (key, index.trim_end_matches(']').parse::<usize>().ok()),
                None => (part, None),
            };
            let Some((spanned_key, mut value)) = table.and_then(|table| table.get_key_value(key)) else {
                break;
            };
            line = Some(self.line_at(spanned_key.span().start));
            if let Some(index) = index {
                let Some(element) = value.get_ref().get(index) else { break };
                line = Some(self.line_at(element.span().start));
                value = element;
            }
            table = value.get_ref().as_table();
        }
        line
    }

    fn line_at(&self, offset: usize) -> usize {
        line_at(self.text, offset)
    }

    fn error_at(&self, path: &str, value: &Spanned<DeValue<'_>>, problem: &str) -> WorkspaceFileError {
        WorkspaceFileError {
            line: Some(self.line_at(value.span().start)),
            problem: format!("{path}: {problem}"),
        }
    }

    /// Refuses values that neither the store nor JSON can represent.
    fn check_value(&self, path: &str, value: &Spanned<DeValue<'_>>) -> Result<(), WorkspaceFileError> {
        match value.get_ref() {
            DeValue::String(text) if text.contains('\0') => {
                Err(self.error_at(path, value, "a text cannot contain U+0000"))
            }
            DeValue::Float(float) if float.as_str().ends_with("nan") || float.as_str().ends_with("inf") => {
                Err(self.error_at(path, value, "not a number that JSON has"))
            }
            DeValue::Datetime(_) => Err(self.error_at(
                path,
                value,
                "a bare date or time is not supported; write it as a text, such as \"2026-12-25\"",
            )),
            DeValue::Array(elements) => elements
                .iter()
                .enumerate()
                .try_for_each(|(index, element)| self.check_value(&format!("{path}[{index}]"), element)),
            DeValue::Table(table) => table.iter().try_for_each(|(key, value)| {
                if key.get_ref().contains('\0') {
                    return Err(self.error_at(path, value, "a key cannot contain U+0000"));
                }
                self.check_value(&format!("{path}.{}", key.get_ref()), value)
            }),
            DeValue::String(_) | DeValue::Float(_) | DeValue::Integer(_) | DeValue::Boolean(_) => Ok(()),
        }
    }
}

/// A table of the file, which is read key by key.
#[derive(Clone)]
pub(super) struct Entry<'d> {
    document: &'d Document<'d>,
    /// `tools[0]`; empty for the whole file.
    path: String,
    span: Range<usize>,
    /// The keys that are not read yet.
    keys: DeTable<'d>,
    /// The names of those that were looked for one by one.
    read: Vec<String>,
}

impl<'d> Entry<'d> {
    pub(super) fn take<T: Deserialize<'d>>(&mut self, key: &str) -> Result<Option<T>, WorkspaceFileError> {
        self.read.push(key.to_owned());
        let Some(value) = self.keys.remove(key) else { return Ok(None) };
        self.document.read(&self.path_of(key), ValueDeserializer::from(value)).map(Some)
    }

    pub(super) fn require<T: Deserialize<'d>>(&mut self, key: &str) -> Result<T, WorkspaceFileError> {
        self.take(key)?.ok_or_else(|| {
            let problem = format!("missing field `{key}`");
            WorkspaceFileError { line: self.location().line, problem }.within(&self.path)
        })
    }

    /// The tables of an array.
    pub(super) fn take_entries(&mut self, key: &str) -> Result<Vec<Self>, WorkspaceFileError> {
        let Some(value) = self.keys.remove(key) else { return Ok(Vec::new()) };
        let (path, document) = (self.path_of(key), self.document);
        let not_tables = || document.error(&path, "an array of tables is expected");
        let DeValue::Array(elements) = value.into_inner() else { return Err(not_tables()) };
        let entry = |(index, element): (usize, Spanned<DeValue<'d>>)| {
            let (path, span) = (format!("{path}[{index}]"), element.span());
            let DeValue::Table(keys) = element.into_inner() else { return Err(not_tables()) };
            Ok(Self { document, path, span, keys, read: Vec::new() })
        };
        elements.into_iter().enumerate().map(entry).collect()
    }

    /// Deserialises the keys that are left. An unknown key is an error of `T`.
    pub(super) fn deserialize<T: Deserialize<'d>>(&self) -> Result<T, WorkspaceFileError> {
        self.document.read(&self.path, self.deserializer()).map_err(|error| self.with_read_keys(error))
    }

    /// Refuses other keys than these.
    pub(super) fn check_keys(&self, known: &[&str]) -> Result<(), WorkspaceFileError> {
        let is_unknown = |key: &&Spanned<_>| !known.contains(&AsRef::<str>::as_ref(key.get_ref()));
        let Some(key) = self.keys.keys().find(is_unknown) else { return Ok(()) };
        let known: Vec<String> = known.iter().map(|key| format!("`{key}`")).collect();
        let problem = format!("unknown field `{}`, expected one of {}", key.get_ref(), known.join(", "));
        Err(self.error(key.get_ref(), problem))
    }

    /// Deserialises the keys that are left as the variant `kind` of the enum `T`.
    pub(super) fn deserialize_variant<T: Deserialize<'d>>(
        &self,
        kind: &str,
    ) -> Result<T, WorkspaceFileError> {
        let variant = MapDeserializer::new(std::iter::once((kind, self.deserializer())));
        let read = self.document.read(&self.path, MapAccessDeserializer::new(variant));
        read.map_err(|error| self.with_read_keys(error))
    }

    /// Adds the keys that were read before to those that serde lists for an unknown one.
    fn with_read_keys(&self, mut error: WorkspaceFileError) -> WorkspaceFileError {
        const LIST: &str = ", expected one of ";
        let unknown = |key: &str| format!("{}: unknown field `{key}`", self.path_of(key));
        let is_own = self.keys.keys().any(|key| error.problem.starts_with(&unknown(key.get_ref())));
        if is_own && let Some((unknown, known)) = error.problem.split_once(LIST) {
            let mut all: Vec<String> = self.read.iter().map(|key| format!("`{key}`")).collect();
            all.push(known.to_owned());
            error.problem = format!("{unknown}{LIST}{}", all.join(", "));
        }
        error
    }

    fn deserializer(&self) -> ValueDeserializer<'d> {
        Spanned::new(self.span.clone(), DeValue::Table(self.keys.clone())).into()
    }

    /// The keys that are left, each as an entry of its own.
    pub(super) fn split(&self) -> impl Iterator<Item = (&str, Self)> {
        self.keys.iter().map(|(key, value)| {
            let keys = DeTable::from_iter([(key.clone(), value.clone())]);
            (key.get_ref().as_ref(), Self { keys, ..self.clone() })
        })
    }

    fn path_of(&self, key: &str) -> String {
        join_path(&self.path, key)
    }

    /// Its location, for an error that is found later.
    pub(super) fn location(&self) -> WorkspaceFileError {
        WorkspaceFileError { line: self.document.line_of(&self.path), problem: self.path.clone() }
    }

    /// An error at a key.
    pub(super) fn error(&self, key: &str, problem: impl fmt::Display) -> WorkspaceFileError {
        self.document.error(&self.path_of(key), problem)
    }

    /// An error that a check of the domain found.
    pub(super) fn invalid(&self, invalid: &InvalidField) -> WorkspaceFileError {
        self.error(&invalid.field, &invalid.problem)
    }
}

/// An error of the TOML parser or of serde.
fn toml_error(text: &str, error: &toml::de::Error) -> WorkspaceFileError {
    WorkspaceFileError {
        line: error.span().map(|span| line_at(text, span.start)),
        problem: without_rust_types(&error.message().replace('\n', " ")),
    }
}

/// Replaces the words that serde has for the types of Rust by those of TOML.
fn without_rust_types(problem: &str) -> String {
    let Some((found, expected)) = problem.rsplit_once(", expected ") else { return problem.to_owned() };
    let limits = match expected {
        "a map" => return format!("{found}, expected a table"),
        "a sequence" => return format!("{found}, expected an array"),
        "u8" => (0, i128::from(u8::MAX)),
        "u16" => (0, i128::from(u16::MAX)),
        "u32" => (0, i128::from(u32::MAX)),
        // TOML has no larger numbers.
        "u64" | "usize" => (0, i128::from(i64::MAX)),
        "i32" => (i128::from(i32::MIN), i128::from(i32::MAX)),
        "i64" | "isize" => (i128::from(i64::MIN), i128::from(i64::MAX)),
        _ => return problem.to_owned(),
    };
    if found.starts_with("invalid value") {
        format!("{found}, expected a whole number from {} to {}", limits.0, limits.1)
    } else {
        format!("{found}, expected a whole number")
    }
}

/// The path of a key of the table at `path`.
fn join_path(path: &str, key: &str) -> String {
    if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") }
}

fn line_at(text: &str, offset: usize) -> usize {
    text.bytes().take(offset).filter(|byte| *byte == b'\n').count() + 1
}
