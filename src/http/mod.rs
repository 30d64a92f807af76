//! HTTP: the router with its two doors, and the loop that serves it. A handler reads its request,
//! calls one use case, and renders what it says; every refusal answers in the door's own envelope.

mod envelope;
mod error;
mod extract;
mod fields;
mod openapi;
mod pages;
mod platform;
mod response;
mod router;
mod server;
mod state;
mod widget;

pub use openapi::openapi;
pub use router::router;
pub use server::{Limits, serve};
pub use state::AppState;
