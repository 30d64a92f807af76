//! All integration tests in one binary, so that it links once and shares its support code. `scripts/test` runs them.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::wildcard_enum_match_arm,
    clippy::too_many_lines,
    reason = "tests and their support code may panic"
)]
#![expect(
    clippy::disallowed_methods,
    reason = "tests use the clock, random ids, tasks and the environment directly"
)]
#![expect(unreachable_pub, reason = "`pub` marks the interface of the support code")]

mod api;
mod caldav;
mod cli;
mod deliveries;
mod faults;
mod guard;
mod harness;
mod hostile;
mod http;
mod mcp;
mod model;
mod operator;
mod ops;
mod pages;
mod peers;
mod processes;
mod progress;
mod public_names;
mod receivers;
mod restores;
mod rooms;
mod service;
mod snippets;
mod startup;
mod store;
mod streams;
mod support;
mod telemetry;
mod v1;
mod widget;
