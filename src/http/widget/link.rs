//! The UUIDs by which the widget API names conversations and assistants.

use uuid::Uuid;

use crate::domain::error::Error;
use crate::domain::ids::{ConversationId, ResourceId as _, WidgetUuid};

/// A hyphenated UUID.
pub(super) fn uuid(text: &str) -> Option<Uuid> {
    // The parser also accepts UUIDs without hyphens, in braces and as URNs.
    if text.len() == 36 { Uuid::try_parse(text).ok() } else { None }
}

/// A conversation's UUID. Any other text is a conversation that does not exist.
pub(super) fn link(name: &str) -> Result<WidgetUuid, Error> {
    let uuid = uuid(name).ok_or_else(|| ConversationId::not_found(name))?;
    Ok(WidgetUuid(uuid))
}
