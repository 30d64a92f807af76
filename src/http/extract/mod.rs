//! Extractors. Each rejects a request in the envelope of its route.

mod accept;
mod account;
mod body;
mod idempotency;
mod multipart;
mod parts;
mod query;

pub(super) use accept::{prefers, wants_event_stream};
pub(super) use account::{
    AnyKey, BillingRead, ConfigWrite, Erase, Export, KeysWrite, MessagesWrite, Operator, Read,
};
pub(super) use body::{Body, Input, NoInput, ObjectBody, OptionalInput, Upload};
pub(super) use idempotency::{idempotency_key, idempotency_request, key_from};
pub(super) use multipart::{Form, FormFile, FormKind, FormOr};
pub(super) use parts::{NestedPathParams, PathParam};
pub(super) use query::{FilterParams, QueryParams, parameter_name, query_names};
