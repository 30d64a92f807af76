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
use crate::service::calendars::BookingPlace;
use crate::service::list_conversations::Place;

const DEFAULT_LIMIT: usize = 50;
const MOST: usize = 200;

/// How many items a page is to have.
pub(super) fn limit(text: Option<&str>) -> Result<usize, Error> {
    let Some(text) = text else { return Ok(DEFAULT_LIMIT) };
    let limit = text.parse().ok().filter(|limit| (1..=MOST).contains(limit));
    limit.ok_or_else(|| Error::invalid("limit", "Field 'limit' must be a number from 1 to 200."))
}

/// A list that is ordered by a number, by the tag of its cursors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Numbered {
    Messages,
    Ledger,
    /// The newest first.
    Deliveries,
}

impl Numbered {
    fn tag(self) -> u8 {
        match self {
            Self::Messages => b'm',
            Self::Ledger => b'l',
            Self::Deliveries => b'd',
        }
    }

    /// The cursor of a place in this list.
    pub(super) fn cursor(self, number: i64) -> String {
        let mut bytes = vec![self.tag()];
        bytes.extend(number.to_be_bytes());
        BASE64_URL_SAFE_NO_PAD.encode(bytes)
    }

    /// The place that a cursor names; before the first without one.
    pub(super) fn place(self, cursor: Option<&str>) -> Result<i64, Error> {
        let Some(cursor) = cursor else { return Ok(0) };
        let bytes = decode(cursor, self.tag())?;
        let number = <[u8; 8]>::try_from(bytes.as_slice()).map_err(|_| malformed())?;
        Ok(i64::from_be_bytes(number))
    }
}

const CONVERSATIONS: u8 = b'c';

/// The cursor of a conversation's place in the list.
pub(super) fn conversation_cursor((at, id): Place) -> String {
    time_cursor(CONVERSATIONS, at, id.0)
}

/// The place that a cursor of the list of conversations names.
pub(super) fn conversation_place(cursor: Option<&str>) -> Result<Option<Place>, Error> {
    Ok(time_place(CONVERSATIONS, cursor)?.map(|(at, id)| (at, ConversationId(id))))
}

/// Lists that are ordered by their items' ids, each with the tag of its cursors.
macro_rules! ordered_by_id {
    ($($(#[$doc:meta])* $cursor:ident, $place:ident: $id:ident = $tag:literal;)+) => {
        $(
            $(#[$doc])*
            pub(super) fn $cursor(id: $id) -> String {
                let mut bytes = vec![$tag];
                bytes.extend(id.0.as_bytes());
                BASE64_URL_SAFE_NO_PAD.encode(bytes)
            }

            /// The place that a cursor of this list names.
            pub(super) fn $place(cursor: Option<&str>) -> Result<Option<$id>, Error> {
                let Some(cursor) = cursor else { return Ok(None) };
                let id = Uuid::from_slice(&decode(cursor, $tag)?).map_err(|_| malformed())?;
                Ok(Some($id(id)))
            }
        )+
    };
}

ordered_by_id! {
    /// The cursor of a webhook endpoint's place in the list.
    endpoint_cursor, endpoint_place: EndpointId = b'w';
    /// The cursor of a calendar's place in the list.
    calendar_cursor, calendar_place: CalendarId = b'a';
    /// The cursor of a tool's place in the list.
    tool_cursor, tool_place: ToolId = b't';
    /// The cursor of a knowledge base's place in the list.
    base_cursor, base_place: KnowledgeBaseId = b'k';
    /// The cursor of a document's place in the list of its base.
    document_cursor, document_place: DocumentId = b'o';
}

const BOOKINGS: u8 = b'b';

/// The cursor of a booking's place in the list.
pub(super) fn booking_cursor((start, id): BookingPlace) -> String {
    time_cursor(BOOKINGS, start, id.0)
}

/// The place that a cursor of a list of bookings names.
pub(super) fn booking_place(cursor: Option<&str>) -> Result<Option<BookingPlace>, Error> {
    Ok(time_place(BOOKINGS, cursor)?.map(|(start, id)| (start, BookingId(id))))
}

/// Of a list that is ordered by a time, and by ids where that is the same.
fn time_cursor(tag: u8, at: Micros, id: Uuid) -> String {
    let mut bytes = vec![tag];
    bytes.extend(at.0.to_be_bytes());
    bytes.extend(id.as_bytes());
    BASE64_URL_SAFE_NO_PAD.encode(bytes)
}

fn time_place(tag: u8, cursor: Option<&str>) -> Result<Option<(Micros, Uuid)>, Error> {
    let Some(cursor) = cursor else { return Ok(None) };
    let bytes = decode(cursor, tag)?;
    let (at, id) = bytes.split_first_chunk::<8>().ok_or_else(malformed)?;
    let id = Uuid::from_slice(id).map_err(|_| malformed())?;
    Ok(Some((Micros(i64::from_be_bytes(*at)), id)))
}

fn decode(cursor: &str, tag: u8) -> Result<Vec<u8>, Error> {
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
    fn a_cursor_leads_back_to_its_place() {
        assert_eq!(Numbered::Ledger.place(Some(&Numbered::Ledger.cursor(42))).unwrap(), 42);
        assert_eq!(Numbered::Messages.place(None).unwrap(), 0);
        let place = (Micros(7), ConversationId(Uuid::from_u128(9)));
        assert_eq!(conversation_place(Some(&conversation_cursor(place))).unwrap(), Some(place));
        let id = EndpointId(Uuid::from_u128(9));
        assert_eq!(endpoint_place(Some(&endpoint_cursor(id))).unwrap(), Some(id));
        let place = (Micros(-7), BookingId(Uuid::from_u128(9)));
        assert_eq!(booking_place(Some(&booking_cursor(place))).unwrap(), Some(place));
    }

    #[test]
    fn another_lists_cursor_and_garbage_are_refused() {
        let of_ledger = Numbered::Ledger.cursor(42);
        assert!(Numbered::Messages.place(Some(&of_ledger)).is_err());
        assert!(conversation_place(Some(&of_ledger)).is_err());
        assert!(endpoint_place(Some(&of_ledger)).is_err());
        for garbage in ["", "42", "*", "bA", "§"] {
            assert!(Numbered::Ledger.place(Some(garbage)).is_err(), "{garbage}");
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
