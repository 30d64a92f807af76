//! Pages: how many items, and where the page before ended. A cursor is opaque to
//! clients: its list's tag and the place, in base64.

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use uuid::Uuid;

use crate::domain::clock::Micros;
use crate::domain::error::Error;
use crate::domain::ids::{
    BookingId, CalendarId, ConversationId, DocumentId, EndpointId, KnowledgeBaseId, ToolId,
};
use crate::service::calendars::BookingPosition;
use crate::service::list_conversations::ConversationCursor;

const DEFAULT_LIMIT: usize = 50;
const MAX_LIMIT: usize = 200;

/// How many items a page is to have.
pub(super) fn limit(text: Option<&str>) -> Result<usize, Error> {
    let Some(text) = text else { return Ok(DEFAULT_LIMIT) };
    let limit = text.parse().ok().filter(|limit| (1..=MAX_LIMIT).contains(limit));
    limit.ok_or_else(|| Error::invalid("limit", "Field 'limit' must be a number from 1 to 200."))
}

/// A list that is ordered by a number, by the tag of its cursors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum SequenceCursor {
    Messages,
    Ledger,
    /// The newest first.
    Deliveries,
}

impl SequenceCursor {
    fn tag(self) -> u8 {
        match self {
            Self::Messages => b'm',
            Self::Ledger => b'l',
            Self::Deliveries => b'd',
        }
    }

    /// The cursor of a place in this list.
    pub(super) fn encode(self, number: i64) -> String {
        let mut bytes = vec![self.tag()];
        bytes.extend(number.to_be_bytes());
        BASE64_URL_SAFE_NO_PAD.encode(bytes)
    }

    /// The place that a cursor names; before the first without one.
    pub(super) fn decode(self, cursor: Option<&str>) -> Result<i64, Error> {
        let Some(cursor) = cursor else { return Ok(0) };
        let bytes = decode_tagged(cursor, self.tag())?;
        let number = <[u8; 8]>::try_from(bytes.as_slice()).map_err(|_| malformed())?;
        Ok(i64::from_be_bytes(number))
    }
}

const CONVERSATIONS: u8 = b'c';

/// The cursor of a conversation's place in the list.
pub(super) fn conversation_cursor((at, id): ConversationCursor) -> String {
    time_cursor(CONVERSATIONS, at, id.0)
}

/// The place that a cursor of the list of conversations names.
pub(super) fn decode_conversation_cursor(cursor: Option<&str>) -> Result<Option<ConversationCursor>, Error> {
    Ok(decode_time_cursor(CONVERSATIONS, cursor)?.map(|(at, id)| (at, ConversationId(id))))
}

/// Lists that are ordered by their items' ids, each with the tag of its cursors.
macro_rules! id_cursors {
    ($($(#[$doc:meta])* $cursor:ident, $decode:ident: $id:ident = $tag:literal;)+) => {
        $(
            $(#[$doc])*
            pub(super) fn $cursor(id: $id) -> String {
                let mut bytes = vec![$tag];
                bytes.extend(id.0.as_bytes());
                BASE64_URL_SAFE_NO_PAD.encode(bytes)
            }

            /// The place that a cursor of this list names.
            pub(super) fn $decode(cursor: Option<&str>) -> Result<Option<$id>, Error> {
                let Some(cursor) = cursor else { return Ok(None) };
                let id = Uuid::from_slice(&decode_tagged(cursor, $tag)?).map_err(|_| malformed())?;
                Ok(Some($id(id)))
            }
        )+
    };
}

id_cursors! {
    /// The cursor of a webhook endpoint's place in the list.
    endpoint_cursor, decode_endpoint_cursor: EndpointId = b'w';
    /// The cursor of a calendar's place in the list.
    calendar_cursor, decode_calendar_cursor: CalendarId = b'a';
    /// The cursor of a tool's place in the list.
    tool_cursor, decode_tool_cursor: ToolId = b't';
    /// The cursor of a knowledge base's place in the list.
    base_cursor, decode_base_cursor: KnowledgeBaseId = b'k';
    /// The cursor of a document's place in the list of its base.
    document_cursor, decode_document_cursor: DocumentId = b'o';
}

const BOOKINGS: u8 = b'b';

/// The cursor of a booking's place in the list.
pub(super) fn booking_cursor((start, id): BookingPosition) -> String {
    time_cursor(BOOKINGS, start, id.0)
}

/// The place that a cursor of a list of bookings names.
pub(super) fn decode_booking_cursor(cursor: Option<&str>) -> Result<Option<BookingPosition>, Error> {
    Ok(decode_time_cursor(BOOKINGS, cursor)?.map(|(start, id)| (start, BookingId(id))))
}

/// Of a list that is ordered by a time, and by ids where that is the same.
fn time_cursor(tag: u8, at: Micros, id: Uuid) -> String {
    let mut bytes = vec![tag];
    bytes.extend(at.0.to_be_bytes());
    bytes.extend(id.as_bytes());
    BASE64_URL_SAFE_NO_PAD.encode(bytes)
}

fn decode_time_cursor(tag: u8, cursor: Option<&str>) -> Result<Option<(Micros, Uuid)>, Error> {
    let Some(cursor) = cursor else { return Ok(None) };
    let bytes = decode_tagged(cursor, tag)?;
    let (at, id) = bytes.split_first_chunk::<8>().ok_or_else(malformed)?;
    let id = Uuid::from_slice(id).map_err(|_| malformed())?;
    Ok(Some((Micros(i64::from_be_bytes(*at)), id)))
}

fn decode_tagged(cursor: &str, tag: u8) -> Result<Vec<u8>, Error> {
    let mut bytes = BASE64_URL_SAFE_NO_PAD.decode(cursor).map_err(|_| malformed())?;
    if bytes.first() != Some(&tag) {
        return Err(malformed());
    }
    bytes.remove(0);
    Ok(bytes)
}

fn malformed() -> Error {
    Error::invalid("cursor", "Field 'cursor' is not a cursor of this list.")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_decodes_to_its_position() {
        assert_eq!(SequenceCursor::Ledger.decode(Some(&SequenceCursor::Ledger.encode(42))).unwrap(), 42);
        assert_eq!(SequenceCursor::Messages.decode(None).unwrap(), 0);
        let position = (Micros(7), ConversationId(Uuid::from_u128(9)));
        assert_eq!(decode_conversation_cursor(Some(&conversation_cursor(position))).unwrap(), Some(position));
        let id = EndpointId(Uuid::from_u128(9));
        assert_eq!(decode_endpoint_cursor(Some(&endpoint_cursor(id))).unwrap(), Some(id));
        let position = (Micros(-7), BookingId(Uuid::from_u128(9)));
        assert_eq!(decode_booking_cursor(Some(&booking_cursor(position))).unwrap(), Some(position));
    }

    #[test]
    fn another_lists_cursor_and_garbage_are_refused() {
        let of_ledger = SequenceCursor::Ledger.encode(42);
        assert!(SequenceCursor::Messages.decode(Some(&of_ledger)).is_err());
        assert!(decode_conversation_cursor(Some(&of_ledger)).is_err());
        assert!(decode_endpoint_cursor(Some(&of_ledger)).is_err());
        for garbage in ["", "42", "*", "bA", "§"] {
            assert!(SequenceCursor::Ledger.decode(Some(garbage)).is_err(), "{garbage}");
        }
    }

    #[test]
    fn a_limit_is_between_1_and_200() {
        assert_eq!(limit(None).unwrap(), 50);
        assert_eq!(limit(Some("200")).unwrap(), 200);
        for text in ["0", "201", "-1", "x", ""] {
            assert!(limit(Some(text)).is_err(), "{text}");
        }
    }
}
