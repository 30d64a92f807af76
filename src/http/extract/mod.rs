//! Extractors. Each rejects a request in the envelope of its route.

mod accept;
mod account;
mod body;
mod idempotency;
mod parts;

pub(super) use accept::wants_event_stream;
pub(super) use account::{BillingRead, ConfigWrite, Erase, MessagesWrite, Read};
pub(super) use body::{Body, Input, OptionalInput, Upload};
pub(super) use idempotency::{idempotency_key, idempotency_request, key_from};
pub(super) use parts::{NestedPathParams, PathParam, QueryParams};
