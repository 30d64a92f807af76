//! Pages: how many items, and where the page before ended. A cursor is opaque to
//! clients: its list's tag and the place, in base64.

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use uuid::Uuid;

use crate::domain::clock::Micros;
use crate::domain::error::Error;
use crate::domain::ids::ConversationId;
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
    let mut bytes = vec![CONVERSATIONS];
    bytes.extend(at.0.to_be_bytes());
    bytes.extend(id.0.as_bytes());
    BASE64_URL_SAFE_NO_PAD.encode(bytes)
}

/// The place that a cursor of the list of conversations names.
pub(super) fn conversation_place(cursor: Option<&str>) -> Result<Option<Place>, Error> {
    let Some(cursor) = cursor else { return Ok(None) };
    let bytes = decode(cursor, CONVERSATIONS)?;
    let (at, id) = bytes.split_first_chunk::<8>().ok_or_else(malformed)?;
    let id = Uuid::from_slice(id).map_err(|_| malformed())?;
    Ok(Some((Micros(i64::from_be_bytes(*at)), ConversationId(id))))
}

/// A list that is in order of age, by the tag of its cursors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ByAge {
    Endpoints,
    Tools,
}

impl ByAge {
    fn tag(self) -> u8 {
        match self {
            Self::Endpoints => b'w',
            Self::Tools => b't',
        }
    }

    /// The cursor of a place in this list: an id.
    pub(super) fn cursor(self, id: Uuid) -> String {
        let mut bytes = vec![self.tag()];
        bytes.extend(id.as_bytes());
        BASE64_URL_SAFE_NO_PAD.encode(bytes)
    }

    /// The place that a cursor names; none without one.
    pub(super) fn place(self, cursor: Option<&str>) -> Result<Option<Uuid>, Error> {
        let Some(cursor) = cursor else { return Ok(None) };
        Uuid::from_slice(&decode(cursor, self.tag())?).map(Some).map_err(|_| malformed())
    }
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
        let id = Uuid::from_u128(9);
        assert_eq!(ByAge::Tools.place(Some(&ByAge::Tools.cursor(id))).unwrap(), Some(id));
    }

    #[test]
    fn another_lists_cursor_and_garbage_are_refused() {
        let of_ledger = Numbered::Ledger.cursor(42);
        assert!(Numbered::Messages.place(Some(&of_ledger)).is_err());
        assert!(conversation_place(Some(&of_ledger)).is_err());
        assert!(ByAge::Endpoints.place(Some(&of_ledger)).is_err());
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
