//! Types and rules of the field, without I/O. Imports nothing of ours.

pub mod clock;
pub mod conversation;
pub mod error;
pub mod failure;
pub mod ids;
pub mod ledger;
pub mod message;
pub mod money;
pub mod turn_record;
pub mod words;
