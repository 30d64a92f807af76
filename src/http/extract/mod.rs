//! Extractors. Each rejects a request in the envelope of its route.

mod accept;
mod account;
mod body;
mod idempotency;
mod parts;

pub(super) use accept::{wants_event_stream, wants_ndjson};
pub(super) use account::{AnyKey, BillingRead, ConfigWrite, KeysWrite, MessagesWrite, Operator, Read};
pub(super) use body::{Body, Input, OptionalInput, Upload};
pub(super) use idempotency::{idempotency_key, idempotency_request, key_from};
pub(super) use parts::{NestedPathParams, PathParam, QueryParams};
