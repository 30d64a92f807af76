//! Types and rules of the field, without I/O. Imports nothing of ours.

pub mod account;
pub mod assistant;
pub mod batch;
pub mod calendar;
pub mod chat;
pub mod clock;
pub mod conversation;
pub mod error;
pub mod event;
pub mod failure;
pub mod history;
pub mod idempotency;
pub mod ids;
pub mod ledger;
pub mod message;
pub mod money;
pub mod rendered;
pub mod retry;
pub mod seal;
pub mod signature;
pub mod template;
pub mod tool_loop;
pub mod turn;
pub mod words;
pub mod workspace;
