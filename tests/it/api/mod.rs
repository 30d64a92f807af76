//! The widget door, as its contract's page and its users have it.

mod limits;
mod messages;
mod model_faults;
mod neighbours;
mod tools;
