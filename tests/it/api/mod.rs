//! The widget door, as its contract's page and its users have it.

mod conversations;
mod demo;
mod human_takeover;
mod idempotency;
mod knowledge;
mod limits;
mod messages;
mod model_faults;
mod money;
mod tools;
