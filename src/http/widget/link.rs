//! The UUIDs by which the widget API names conversations.

use uuid::Uuid;

use crate::domain::error::Error;
use crate::domain::ids::{ConversationId, ResourceId as _, WidgetUuid};

/// A conversation's UUID. Any other text is a conversation that does not exist.
pub(super) fn link(name: &str) -> Result<WidgetUuid, Error> {
    // The parser also accepts UUIDs without hyphens, in braces and as URNs.
    let uuid = if name.len() == 36 { Uuid::try_parse(name).ok() } else { None };
    uuid.map(WidgetUuid).ok_or_else(|| ConversationId::not_found(name))
}
