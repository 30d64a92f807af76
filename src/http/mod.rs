//! HTTP: the router with its two doors, and the loop that serves it. A handler reads its request,
//! calls one use case, and renders what it says; every refusal answers in the door's own envelope.

mod api;
mod calendar_file;
mod envelope;
mod error;
mod etag;
mod extract;
mod fields;
mod health;
mod limits;
mod observe;
mod openapi;
mod pages;
mod response;
mod router;
mod serve;
mod stalled_reader;
mod state;
mod v1;

pub use limits::Limits;
pub use openapi::openapi;
pub use router::router;
pub use serve::serve;
pub use state::AppState;
