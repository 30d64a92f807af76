//! Lists: the size of a page, and the cursor at which the next one begins. A cursor is opaque to clients: a tag of its list and the
//! position of the last item, in base64.

use std::marker::PhantomData;

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use serde::Deserialize;
use utoipa::IntoParams;
use uuid::Uuid;

use crate::domain::clock::Micros;
use crate::domain::error::Error;
use crate::domain::ids::{AuditId, ResourceId};
use crate::http::describe::error_sets;

const DEFAULT_LIMIT: usize = 50;
const MAX_LIMIT: usize = 200;

/// The query of a list without filters.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(in crate::http) struct PageQuery {
    /// Number of items per page: 1 to 200, 50 by default.
    #[param(value_type = Option<u32>, minimum = 1, maximum = 200)]
    pub(in crate::http) limit: Option<String>,
    /// The `next_cursor` of the previous page.
    pub(in crate::http) cursor: Option<String>,
}

error_sets! {
    /// The query of a list.
    InvalidQuery {
        "A query parameter is invalid" => limit(Some("")).err().unwrap_or_else(malformed),
    }
}

/// The number of items that a page may have.
pub(in crate::http) fn limit(text: Option<&str>) -> Result<usize, Error> {
    let Some(text) = text else { return Ok(DEFAULT_LIMIT) };
    let limit = text.parse().ok().filter(|limit| (1..=MAX_LIMIT).contains(limit));
    limit.ok_or_else(|| Error::invalid("limit", "Field 'limit' must be a number from 1 to 200."))
}

/// A position in a list's order.
pub(in crate::http) trait Position: Copy {
    fn write(&self, bytes: &mut Vec<u8>);

    /// Takes a position from the front of the bytes.
    fn read(bytes: &mut &[u8]) -> Option<Self>;
}

fn take<const N: usize>(bytes: &mut &[u8]) -> Option<[u8; N]> {
    let (first, rest) = bytes.split_first_chunk::<N>()?;
    *bytes = rest;
    Some(*first)
}

impl Position for i64 {
    fn write(&self, bytes: &mut Vec<u8>) {
        bytes.extend(self.to_be_bytes());
    }

    fn read(bytes: &mut &[u8]) -> Option<Self> {
        take(bytes).map(Self::from_be_bytes)
    }
}

impl Position for Micros {
    fn write(&self, bytes: &mut Vec<u8>) {
        self.0.write(bytes);
    }

    fn read(bytes: &mut &[u8]) -> Option<Self> {
        i64::read(bytes).map(Self)
    }
}

impl<I: ResourceId> Position for I {
    fn write(&self, bytes: &mut Vec<u8>) {
        bytes.extend(self.uuid().as_bytes());
    }

    fn read(bytes: &mut &[u8]) -> Option<Self> {
        take(bytes).map(Uuid::from_bytes).map(Self::from_uuid)
    }
}

impl Position for AuditId {
    fn write(&self, bytes: &mut Vec<u8>) {
        bytes.extend(self.0.as_bytes());
    }

    fn read(bytes: &mut &[u8]) -> Option<Self> {
        take(bytes).map(Uuid::from_bytes).map(Self)
    }
}

/// A time, and the ids of items with the same time.
impl<A: Position, B: Position> Position for (A, B) {
    fn write(&self, bytes: &mut Vec<u8>) {
        self.0.write(bytes);
        self.1.write(bytes);
    }

    fn read(bytes: &mut &[u8]) -> Option<Self> {
        Some((A::read(bytes)?, B::read(bytes)?))
    }
}

/// The cursors of the list with this tag, which is ordered by `P`.
#[derive(Debug)]
pub(in crate::http) struct Cursor<P, const TAG: char>(PhantomData<P>);

impl<P: Position, const TAG: char> Cursor<P, TAG> {
    const TAG_BYTE: u8 = TAG as u8;

    pub(in crate::http) fn encode(position: P) -> String {
        let mut bytes = vec![Self::TAG_BYTE];
        position.write(&mut bytes);
        BASE64_URL_SAFE_NO_PAD.encode(bytes)
    }

    /// The position of a cursor; none before the first page.
    pub(in crate::http) fn decode(cursor: Option<&str>) -> Result<Option<P>, Error> {
        let Some(cursor) = cursor else { return Ok(None) };
        let bytes = BASE64_URL_SAFE_NO_PAD.decode(cursor).map_err(|_| malformed())?;
        let mut rest = bytes.strip_prefix(&[Self::TAG_BYTE]).ok_or_else(malformed)?;
        let position = P::read(&mut rest).filter(|_| rest.is_empty());
        position.map(Some).ok_or_else(malformed)
    }
}

fn malformed() -> Error {
    Error::invalid("cursor", "Field 'cursor' is not a cursor of this list.")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::ids::{ConversationId, EndpointId};

    type Ledger = Cursor<i64, 'l'>;
    type Messages = Cursor<i64, 'm'>;
    type Conversations = Cursor<(Micros, ConversationId), 'c'>;
    type Endpoints = Cursor<EndpointId, 'w'>;

    #[test]
    fn a_cursor_decodes_to_its_position() {
        assert_eq!(Ledger::decode(Some(&Ledger::encode(42))).unwrap(), Some(42));
        assert_eq!(Messages::decode(None).unwrap(), None);
        let position = (Micros(-7), ConversationId(Uuid::from_u128(9)));
        let cursor = Conversations::encode(position);
        assert_eq!(Conversations::decode(Some(&cursor)).unwrap(), Some(position));
        let id = EndpointId(Uuid::from_u128(9));
        assert_eq!(Endpoints::decode(Some(&Endpoints::encode(id))).unwrap(), Some(id));
    }

    #[test]
    fn another_lists_cursor_and_garbage_are_refused() {
        let of_ledger = Ledger::encode(42);
        assert!(Messages::decode(Some(&of_ledger)).is_err());
        assert!(Conversations::decode(Some(&of_ledger)).is_err());
        assert!(Endpoints::decode(Some(&of_ledger)).is_err());
        for garbage in ["", "42", "*", "bA", "§"] {
            assert!(Ledger::decode(Some(garbage)).is_err(), "{garbage}");
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
