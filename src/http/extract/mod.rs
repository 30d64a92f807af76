//! Extractors: what a handler takes says what a request needs. Each refuses in the envelope `E`.

mod account;
mod body;
mod idempotency;
mod parts;

pub(super) use account::{BillingRead, ConfigWrite, MessagesWrite, Read, bearer};
pub(super) use body::{Body, OptionalBody, UploadPermit};
pub(super) use idempotency::{idempotency_key, idempotency_request};
pub(super) use parts::{NestedPathParams, PathParam, QueryParams};
