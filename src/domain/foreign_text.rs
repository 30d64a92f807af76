//! Texts that other servers have sent.

use std::fmt;

use serde::Serialize;

/// What another server has said, such as the message of an error. It may quote what people wrote, so it has no `Display` and its `Debug`
/// shows only its length: no log contains it by accident.
#[derive(Clone, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct ForeignText(String);

impl ForeignText {
    /// The text itself, for those who may read what people wrote. Never for a log.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// The same, to be masked or shortened.
    pub fn expose_mut(&mut self) -> &mut String {
        &mut self.0
    }
}

impl From<String> for ForeignText {
    fn from(text: String) -> Self {
        Self(text)
    }
}

impl fmt::Debug for ForeignText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ForeignText({} bytes)", self.0.len())
    }
}
