//! The file as TOML with source positions: the checks of every value, and the line of an error.

use std::fmt;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

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

    /// The location of a path, for an error that is found later.
    pub(super) fn location(&self, path: &str) -> WorkspaceFileError {
        WorkspaceFileError { line: self.line_of(path), problem: path.to_owned() }
    }

    /// An error at `path`, such as `tools[0].url`.
    pub(super) fn error(&self, path: &str, problem: impl fmt::Display) -> WorkspaceFileError {
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

/// An error of the TOML parser or of serde.
pub(super) fn toml_error(text: &str, error: &toml::de::Error) -> WorkspaceFileError {
    WorkspaceFileError {
        line: error.span().map(|span| line_at(text, span.start)),
        problem: error.message().replace('\n', " "),
    }
}

fn line_at(text: &str, offset: usize) -> usize {
    text.bytes().take(offset).filter(|byte| *byte == b'\n').count() + 1
}
