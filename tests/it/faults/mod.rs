//! Faults of the model, the database and the server: the responses to clients, and the state afterwards.

mod commit_order;
mod database_outage;
mod internal_errors;
mod lease;
mod model;
mod overload;
mod ownership;
mod pooler;
mod standby;
mod stopping;
