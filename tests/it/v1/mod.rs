//! The platform door, as its contract's page and its users have it.

mod changing;
mod creating;
mod events;
mod messages;
mod reading;
pub mod tools;
mod turns;
mod webhook_deliveries;
mod webhook_endpoints;
