//! All SQL: one text for both databases. Functions take a [`Conn`] and the
//! workspace whose rows they touch; absence is `None`, and becomes an error in
//! the service that knows what it means.
//!
//! Where the dialects must differ (`Conn::pick`): row locks, the store's clock,
//! the claims of queued turns and deliveries, and what full-text search is asked.

pub mod archived_endpoints;
pub mod assistants;
pub mod attempts;
pub mod bookings;
pub mod calendars;
pub mod cancellations;
mod codec;
pub mod confirmed_bookings;
mod conn;
pub mod conversations;
mod db;
mod deliveries;
pub mod delivery_claims;
pub mod delivery_log;
pub mod documents;
pub mod embedding_jobs;
pub mod embedding_models;
mod error;
pub mod event_replay;
pub mod events;
pub mod idempotency;
pub mod journal;
pub mod keys;
pub mod knowledge_bases;
pub mod lease;
pub mod ledger;
pub mod lock;
pub mod messages;
mod now;
pub mod overdue;
pub mod passage_vectors;
pub mod passages;
mod pooled_connection;
pub mod processes;
pub mod queue;
pub mod retention;
pub mod turns;
pub mod webhook_endpoints;
pub mod workspace_config;
pub mod workspaces;
pub mod writer;

pub use conn::Conn;
use conn::bind_chunks;
pub(crate) use conn::on_conn;
pub use db::{Db, ReadConnection, Tx};
pub use error::StoreError;
pub use pooled_connection::PooledConnection;
