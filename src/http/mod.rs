//! HTTP: the two APIs, the pages for people, and the server. A handler reads its request, calls one use case, and renders the
//! result. Every error is answered in the envelope of its API.

mod authentication;
mod describe;
mod envelope;
mod error;
mod event_stream;
mod extract;
mod fields;
mod health;
mod ignored_key;
mod openapi;
mod operator;
mod pages;
mod platform;
mod query;
mod response;
mod router;
mod server;
mod state;
mod ui_message_stream;
mod widget;

pub use openapi::openapi;
pub use router::{operator_routers, routers};
pub use server::{Limits, Routers, serve};
pub use state::{AppState, SharedState};
