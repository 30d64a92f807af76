//! All SQL: one text for both databases. Functions take a [`Conn`] and the
//! workspace whose rows they touch; absence is `None`, and becomes an error in
//! the service that knows what it means.
//!
//! Where the dialects must differ (`Conn::pick`): row locks, the store's clock,
//! the claims of queued turns and deliveries, and what full-text search is asked.

pub mod assistants;
pub mod bookings;
pub mod calendars;
pub mod confirmed_bookings;
pub mod conversations;
pub mod db;
pub mod deliveries;
pub mod events;
pub mod idempotency;
pub mod keys;
pub mod knowledge;
pub mod ledger;
pub mod messages;
pub mod processes;
pub mod turns;
pub mod webhook_endpoints;
pub mod workspace_config;
pub mod workspaces;

use db::bind_chunks;
pub(crate) use db::on_conn;
pub use db::{Conn, Db, PooledConnection, ReadConnection, StoreError, Tx, store_now};
