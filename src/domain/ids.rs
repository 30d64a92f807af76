//! Identifiers: one newtype for each kind, displayed as a TypeID (`con_` and 26 characters of Crockford base 32 over
//! a UUID), so that an id always names its kind.

use std::fmt;
use std::str::FromStr;
use std::sync::Mutex;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use utoipa::openapi::{RefOr, Schema};
use utoipa::{PartialSchema, ToSchema};
use uuid::Uuid;

use super::clock::{Clock, Micros};
use super::error::Error;
use super::schema::pattern;

const ALPHABET: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";

/// A text that is not an id of this kind.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not an id of the form {prefix}_…")]
pub struct MalformedId {
    prefix: &'static str,
}

fn encode(prefix: &str, id: Uuid) -> String {
    let value = id.as_u128();
    let mut text = String::with_capacity(prefix.len() + 27);
    text.push_str(prefix);
    text.push('_');
    for index in (0..26).rev() {
        let digit = (value >> (index * 5)) & 31;
        text.push(char::from(ALPHABET[usize::try_from(digit).unwrap_or(0)]));
    }
    text
}

fn decode(prefix: &'static str, text: &str) -> Result<Uuid, MalformedId> {
    let malformed = MalformedId { prefix };
    let digits = text.strip_prefix(prefix).and_then(|rest| rest.strip_prefix('_'));
    let Some(digits) = digits.filter(|digits| digits.len() == 26 && digits.as_bytes()[0] <= b'7') else {
        return Err(malformed);
    };
    let mut value = 0_u128;
    for digit in digits.bytes() {
        let Some(digit) = ALPHABET.iter().position(|symbol| *symbol == digit) else { return Err(malformed) };
        value = (value << 5) | u128::try_from(digit).unwrap_or(0);
    }
    Ok(Uuid::from_u128(value))
}

/// The id of a resource that a request names.
pub trait ResourceId: Copy + FromStr {
    /// The resource, as error texts name it.
    const NAME: &'static str;
    /// The code of the error that there is none.
    const NOT_FOUND: &'static str;
    /// An id, for the description of the API.
    const EXAMPLE: &'static str;

    fn from_uuid(uuid: Uuid) -> Self;

    fn uuid(self) -> Uuid;

    /// The id that a request names.
    ///
    /// # Errors
    /// [`Error::NotFound`] if no resource can have it.
    fn parse(name: &str) -> Result<Self, Error> {
        name.parse().map_err(|_| Self::not_found(name))
    }

    /// The error of a name that no resource of the workspace has.
    fn not_found(name: impl fmt::Display) -> Error {
        Error::NotFound { resource: Self::NAME, code: Self::NOT_FOUND, name: name.to_string() }
    }
}

/// The regular expression of an id with this prefix, without anchors: what `decode` accepts.
macro_rules! id_pattern {
    ($prefix:literal) => {
        concat!($prefix, "_[0-7][0-9a-hjkmnp-tv-z]{25}")
    };
}

pub(crate) use id_pattern;

macro_rules! define_ids {
    ($($(#[doc = $doc:literal])* $name:ident $prefix:literal $(= $resource:literal, $not_found:literal, $example:literal)?;)+) => {
        $(
            $(#[doc = $doc])*
            #[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
            pub struct $name(pub Uuid);

            impl $name {
                /// The prefix before the underscore.
                pub const PREFIX: &'static str = $prefix;
            }

            impl fmt::Display for $name {
                fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                    f.write_str(&encode($prefix, self.0))
                }
            }

            impl fmt::Debug for $name {
                fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                    fmt::Display::fmt(self, f)
                }
            }

            impl FromStr for $name {
                type Err = MalformedId;

                fn from_str(text: &str) -> Result<Self, MalformedId> {
                    decode($prefix, text).map(Self)
                }
            }

            impl Serialize for $name {
                fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                    serializer.collect_str(self)
                }
            }

            impl<'de> Deserialize<'de> for $name {
                fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                    let text = String::deserialize(deserializer)?;
                    text.parse().map_err(serde::de::Error::custom)
                }
            }

            impl PartialSchema for $name {
                fn schema() -> RefOr<Schema> {
                    let example = concat!($prefix, "_01k9z3x8f5e4r9t2m6q7w8y0ab");
                    let description = [$($doc.trim()),*].join(" ");
                    let schema = pattern(concat!("^", id_pattern!($prefix), "$"));
                    schema.description(Some(description)).examples([example]).into()
                }
            }

            impl ToSchema for $name {}

            $(
                impl ResourceId for $name {
                    const NAME: &'static str = $resource;
                    const NOT_FOUND: &'static str = $not_found;
                    const EXAMPLE: &'static str = $example;

                    fn from_uuid(uuid: Uuid) -> Self {
                        Self(uuid)
                    }

                    fn uuid(self) -> Uuid {
                        self.0
                    }
                }
            )?
        )+

        /// One error for each kind of resource.
        #[cfg(test)]
        pub(crate) fn not_found_errors(name: &str) -> Vec<Error> {
            [$($(Error::NotFound { resource: $resource, code: $not_found, name: name.to_owned() },)?)+].into()
        }
    };
}

/// Calls a macro with all ids: the prefix of each and, if requests name a resource by it, the resource's name, the code of
/// the error that there is none, and an example.
macro_rules! with_ids {
    ($callback:ident) => {
        $callback! {
            /// A workspace: one tenant.
            WorkspaceId "wsp" = "Workspace", "workspace_not_found", "wsp_01k9z3x8f5e4r9t2m6q7w8y0ab";
            /// A conversation, as the platform API names it. The widget API never accepts it.
            ConversationId "con" = "Conversation", "conversation_not_found", "con_01k9z3x8f5e4r9t2m6q7w8y0ab";
            /// A message, also a reply.
            MessageId "msg" = "Message", "message_not_found", "msg_01k9z3x8f5e4r9t2m6q7w8y0ab";
            /// An assistant; the UUID in it is the `assistant_id` of the widget API.
            AssistantId "ast" = "Assistant", "assistant_not_found", "ast_01k9z3x8f5e4r9t2m6q7w8y0ab";
            /// A secret that signs identity tokens of an assistant's visitors.
            IdentitySecretId "ids" = "Identity secret", "identity_secret_not_found", "ids_01k9z3x8f5e4r9t2m6q7w8y0ab";
            /// A turn: one reply to generate.
            TurnId "trn" = "Turn", "turn_not_found", "trn_01k9z3x8f5e4r9t2m6q7w8y0ab";
            /// A calendar.
            CalendarId "cal" = "Calendar", "calendar_not_found", "cal_01k9z3x8f5e4r9t2m6q7w8y0ab";
            /// A booking in a calendar.
            BookingId "bkg" = "Booking", "booking_not_found", "bkg_01k9z3x8f5e4r9t2m6q7w8y0ab";
            /// A tool of a workspace.
            ToolId "tool" = "Tool", "tool_not_found", "tool_01k9z3x8f5e4r9t2m6q7w8y0ab";
            /// An endpoint that receives webhooks.
            EndpointId "whe" = "Webhook endpoint", "webhook_endpoint_not_found", "whe_01k9z3x8f5e4r9t2m6q7w8y0ab";
            /// One delivery of one event to one endpoint.
            DeliveryId "dlv" = "Delivery", "delivery_not_found", "dlv_01k9z3x8f5e4r9t2m6q7w8y0ab";
            /// A knowledge base.
            KnowledgeBaseId "kb" = "Knowledge base", "knowledge_base_not_found", "kb_01k9z3x8f5e4r9t2m6q7w8y0ab";
            /// A document of a knowledge base.
            DocumentId "doc" = "Document", "document_not_found", "doc_01k9z3x8f5e4r9t2m6q7w8y0ab";
            /// An event of the feed.
            EventId "evt";
            /// An API key's public name, not its secret.
            KeyId "key" = "API key", "key_not_found", "key_01k9z3x8f5e4r9t2m6q7w8y0ab";
            /// The public name of a key of the operator's API.
            OperatorKeyId "opk";
            /// An entry of the audit log.
            AuditId "aud";
            /// An erasure of conversations.
            ErasureId "era" = "Erasure", "erasure_not_found", "era_4vq81n";
            /// A running process of the server.
            ProcessId "prc";
        }
    };
}

pub(crate) use with_ids;

with_ids!(define_ids);

impl MessageId {
    /// The id of the reply of a turn: the same for each of its attempts, in any process.
    #[must_use]
    pub fn of_reply(turn: TurnId) -> Self {
        /// Changes random bits, so that neither is the other's id.
        const REPLY: u128 = 0x72_6570_6c79;
        Self(Uuid::from_u128(turn.0.as_u128() ^ REPLY))
    }
}

/// The capability of the widget API: a random (v4) UUID, never derived from a [`ConversationId`].
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct WidgetUuid(pub Uuid);

impl fmt::Display for WidgetUuid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

/// Shows only the first eight digits: a log must not contain the key to a conversation.
impl fmt::Debug for WidgetUuid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}…", &self.0.to_string()[..8])
    }
}

/// The capability of the `.ics` address of a calendar: a random (v4) UUID, never derived from a [`CalendarId`].
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct CalendarToken(pub Uuid);

/// 32 hexadecimal digits, as in the address.
impl fmt::Display for CalendarToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0.simple(), f)
    }
}

/// Shows only the first eight digits: a log must not give access to a calendar.
impl fmt::Debug for CalendarToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}…", &self.to_string()[..8])
    }
}

/// Generates ids and secrets. Seeded in tests, otherwise from the operating system.
#[derive(Debug)]
pub struct IdGenerator {
    source: Mutex<StdRng>,
}

impl IdGenerator {
    /// Unpredictable ids.
    #[must_use]
    pub fn random() -> Self {
        Self { source: Mutex::new(rand::make_rng()) }
    }

    /// The same ids for the same seed, for tests.
    #[must_use]
    pub fn seeded(seed: u64) -> Self {
        Self { source: Mutex::new(StdRng::seed_from_u64(seed)) }
    }

    /// Random bytes, for secrets.
    pub fn bytes<const N: usize>(&self) -> [u8; N] {
        let mut bytes = [0; N];
        let mut source = self.source.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        source.fill_bytes(&mut bytes);
        bytes
    }

    /// A random (v4) UUID, for capabilities.
    pub fn uuid_v4(&self) -> Uuid {
        uuid::Builder::from_random_bytes(self.bytes()).into_uuid()
    }

    /// A time-ordered (v7) UUID, for keys of rows.
    pub fn uuid_v7(&self, clock: &dyn Clock) -> Uuid {
        let millis = u64::try_from(clock.now().0 / 1000).unwrap_or(0);
        uuid::Builder::from_unix_timestamp_millis(millis, &self.bytes()).into_uuid()
    }
}

/// The smallest time-ordered (v7) UUID of a time: those that were made earlier are smaller.
#[must_use]
pub fn uuid_v7_floor(at: Micros) -> Uuid {
    let millis = u64::try_from(at.0 / 1000).unwrap_or(0);
    uuid::Builder::from_unix_timestamp_millis(millis, &[0; 10]).into_uuid()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_reads_back_as_it_was_written() {
        let id = MessageId(Uuid::from_u128(u128::MAX));

        assert_eq!(id.to_string(), "msg_7zzzzzzzzzzzzzzzzzzzzzzzzz");
        assert_eq!(id.to_string().parse(), Ok(id));
    }

    #[test]
    fn other_kinds_other_lengths_and_other_letters_are_refused() {
        for text in [
            "con_00000000000000000000000000",
            "msg_0",
            "msg_0000000000000000000000000u",
            "msg_80000000000000000000000000",
            "msg_0000000000000000000000000A",
            "msg00000000000000000000000000",
            "",
            "msg_é0000000000000000000000000",
        ] {
            assert!(text.parse::<MessageId>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_widget_uuid_is_cut_short_in_logs() {
        let uuid = WidgetUuid(Uuid::from_u128(0x7c9e_6679_7425_40de_944b_e07f_c1f9_0ae7));

        assert_eq!(format!("{uuid:?}"), "7c9e6679…");
    }

    #[test]
    fn a_calendars_token_is_cut_short_in_logs() {
        let token = CalendarToken(Uuid::from_u128(0x7c9e_6679_7425_40de_944b_e07f_c1f9_0ae7));

        assert_eq!(token.to_string(), "7c9e6679742540de944be07fc1f90ae7");
        assert_eq!(format!("{token:?}"), "7c9e6679…");
    }
}
