//! An invalid field of a configuration, before the caller adds where it was written.

use std::fmt;

/// The field and its problem, displayed as `hours.mon[1]: …`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {problem}")]
pub struct InvalidField {
    /// The path of the field within its entry: `hours.mon[1]`.
    pub field: String,
    /// The problem, in one sentence.
    pub problem: String,
}

impl InvalidField {
    pub fn new(field: impl fmt::Display, problem: impl fmt::Display) -> Self {
        Self { field: field.to_string(), problem: problem.to_string() }
    }

    /// The same field, as a part of `parent`.
    #[must_use]
    pub fn within(self, parent: &str) -> Self {
        Self { field: format!("{parent}.{}", self.field), ..self }
    }
}

/// The longest slug, in bytes.
const MAX_SLUG: usize = 64;

/// Refuses a text that is no slug.
pub fn check_slug(slug: &str) -> Result<(), InvalidField> {
    let is_allowed =
        |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'-' | b'_');
    if !slug.is_empty() && slug.len() <= MAX_SLUG && slug.bytes().all(is_allowed) {
        return Ok(());
    }
    let problem = format!(
        "\"{slug}\" is not a slug: 1 to {MAX_SLUG} lower-case letters, digits, hyphens or underscores"
    );
    Err(InvalidField::new("slug", problem))
}

/// Refuses a blank text.
pub fn check_not_blank(field: &str, text: &str) -> Result<(), InvalidField> {
    if text.trim().is_empty() { Err(InvalidField::new(field, "empty")) } else { Ok(()) }
}

/// Refuses a text that is blank or longer than `max_chars`. The `maxLength` of a schema counts characters, too.
pub fn check_text(field: &str, text: &str, max_chars: usize) -> Result<(), InvalidField> {
    check_not_blank(field, text)?;
    if text.chars().count() > max_chars {
        return Err(InvalidField::new(field, format_args!("longer than {max_chars} characters")));
    }
    Ok(())
}
