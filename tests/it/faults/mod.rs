//! What fails outside of the server, or in it: what its callers are told, and what is true afterwards.

mod database_outage;
mod internal_errors;
mod lease;
mod model;
mod overload;
mod ownership;
mod stopping;
