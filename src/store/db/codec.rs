//! Column encodings of domain types: ids as UUIDs (16 bytes on SQLite), enums as text, instants and money as integers.

use sqlx::database::Database;
use sqlx::encode::IsNull;
use sqlx::error::BoxDynError;
use sqlx::postgres::{PgArgumentBuffer, PgHasArrayType, PgTypeInfo, PgValueRef};
use sqlx::sqlite::{SqliteArgumentsBuffer, SqliteTypeInfo, SqliteValueRef};
use sqlx::{Decode, Encode, Postgres, Sqlite, Type};
use uuid::Uuid;

use crate::domain::clock::Micros;
use crate::domain::conversation::{ConversationKind, SenderType};
use crate::domain::delivery::{AttemptOutcome, DeliveryState};
use crate::domain::erasure::ErasureReason;
use crate::domain::event::EventType;
use crate::domain::ids::{self, CalendarToken, WidgetUuid, with_ids};
use crate::domain::knowledge::{Format, Language};
use crate::domain::ledger::LedgerKind;
use crate::domain::message::Rating;
use crate::domain::money::Money;
use crate::domain::seal::SealedSecret;
use crate::domain::turn::{Api, TurnState};
use crate::domain::webhook_endpoint::DisabledReason;

/// Encodes a type as another type, on both databases.
macro_rules! sql_newtype {
    ($sql:ty, |$value:ident| $to:expr, |$raw:ident| $from:expr; $($name:ty),+ $(,)?) => {
        $(
            impl Type<Postgres> for $name {
                fn type_info() -> PgTypeInfo {
                    <$sql as Type<Postgres>>::type_info()
                }

                fn compatible(info: &PgTypeInfo) -> bool {
                    <$sql as Type<Postgres>>::compatible(info)
                }
            }

            impl PgHasArrayType for $name {
                fn array_type_info() -> PgTypeInfo {
                    <$sql as PgHasArrayType>::array_type_info()
                }

                fn array_compatible(info: &PgTypeInfo) -> bool {
                    <$sql as PgHasArrayType>::array_compatible(info)
                }
            }

            impl Type<Sqlite> for $name {
                fn type_info() -> SqliteTypeInfo {
                    <$sql as Type<Sqlite>>::type_info()
                }

                fn compatible(info: &SqliteTypeInfo) -> bool {
                    <$sql as Type<Sqlite>>::compatible(info)
                }
            }

            impl Encode<'_, Postgres> for $name {
                fn encode_by_ref(&self, buffer: &mut PgArgumentBuffer) -> Result<IsNull, BoxDynError> {
                    let $value = self;
                    Encode::<Postgres>::encode($to, buffer)
                }
            }

            impl<'q> Encode<'q, Sqlite> for $name {
                fn encode_by_ref(&self, buffer: &mut SqliteArgumentsBuffer) -> Result<IsNull, BoxDynError> {
                    let $value = self;
                    Encode::<Sqlite>::encode($to, buffer)
                }
            }

            impl<'r> Decode<'r, Postgres> for $name {
                fn decode(value: PgValueRef<'r>) -> Result<Self, BoxDynError> {
                    let $raw = decode_raw::<Postgres, $sql>(value)?;
                    $from
                }
            }

            impl<'r> Decode<'r, Sqlite> for $name {
                fn decode(value: SqliteValueRef<'r>) -> Result<Self, BoxDynError> {
                    let $raw = decode_raw::<Sqlite, $sql>(value)?;
                    $from
                }
            }
        )+
    };
}

fn decode_raw<'r, D: Database, T: Decode<'r, D>>(value: D::ValueRef<'r>) -> Result<T, BoxDynError> {
    T::decode(value)
}

macro_rules! sql_ids {
    ($($(#[$doc:meta])* $name:ident $prefix:literal $(= $($resource:literal),+)?;)+) => {
        sql_newtype!(Uuid, |id| id.0, |raw| Ok(Self(raw)); $(ids::$name),+);
    };
}

with_ids!(sql_ids);
sql_newtype!(Uuid, |id| id.0, |raw| Ok(Self(raw)); CalendarToken, WidgetUuid);
sql_newtype!(i64, |value| value.0, |raw| Ok(Self(raw)); Micros, Money);
sql_newtype!(String, |word| word.as_str(), |raw| Ok(raw.parse()?);
    AttemptOutcome, ConversationKind, DeliveryState, DisabledReason, Api, ErasureReason, EventType, Format,
    Language, LedgerKind, Rating, SenderType, TurnState,
);
sql_newtype!(String, |sealed| sealed.as_str(), |raw| Ok(Self::from_stored(raw)); SealedSecret);
