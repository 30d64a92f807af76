//! The widget door, as its contract's page and its users have it.

mod demo;
mod idempotency;
mod knowledge;
mod limits;
mod messages;
mod model_faults;
mod money;
mod neighbours;
mod people;
mod tools;
