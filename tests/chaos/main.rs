//! Fault injection: real server processes are killed, frozen and stopped while clients send requests. Afterwards a checker
//! compares the state that the API reports with the records of clients and fakes. `scripts/chaos` runs the large sizes.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::wildcard_enum_match_arm,
    clippy::too_many_lines,
    clippy::print_stdout,
    reason = "tests and their support code may panic, and these print their results"
)]
#![expect(
    clippy::disallowed_methods,
    reason = "tests use the clock, random ids, tasks and the environment directly"
)]
#![expect(unreachable_pub, reason = "`pub` marks the interface of a module")]

mod checker;
mod checker_self_test;
mod client;
mod cluster;
mod commits;
mod crash_points;
mod erasures;
mod evidence;
mod fakes;
mod fault_matrix;
mod fault_proxy;
mod freeze;
mod graceful_stop;
mod history;
mod idempotency_keys;
mod ledger_monitor;
mod migration;
mod mixed_load;
mod money;
mod outages;
mod random_kills;
mod resource_exhaustion;
mod sizes;
mod streaming;
mod streams;
#[path = "../it/support/mod.rs"]
#[expect(
    dead_code,
    unused_imports,
    unused_macros,
    reason = "these tests use only a part of the support code"
)]
mod support;
mod takeover;
mod transcript;
mod webhooks;
