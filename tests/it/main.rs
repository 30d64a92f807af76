//! All integration tests in one binary, so that it links once and shares its support code. `scripts/test` runs them.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::wildcard_enum_match_arm,
    clippy::too_many_lines,
    reason = "what a test cannot do without may stop it, in its support too"
)]
#![expect(
    clippy::disallowed_methods,
    reason = "tests stand outside the homes of time, ids, tasks and environment"
)]
#![expect(unreachable_pub, reason = "`pub` says what the support offers to the tests")]

mod api;
mod caldav;
mod cli;
mod deliveries;
mod faults;
mod guard;
mod harness;
mod http;
mod mcp;
mod model;
mod pages;
mod processes;
mod public_names;
mod receivers;
mod rooms;
mod service;
mod store;
mod support;
mod v1;
