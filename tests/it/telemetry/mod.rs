//! The metrics and traces of a server process.

mod metrics;
mod traces;
