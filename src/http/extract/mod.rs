//! Extractors. Each rejects a request in the envelope of its route.

mod account;
mod body;
mod idempotency;
mod parts;

pub(super) use account::{BillingRead, ConfigWrite, MessagesWrite, Read};
pub(super) use body::{Body, Input, OptionalInput, Upload};
pub(super) use idempotency::{idempotency_key, idempotency_request};
pub(super) use parts::{NestedPathParams, PathParam, QueryParams};
