//! The `rejoinder` program.

use std::process::ExitCode;

/// The allocator of glibc keeps what was freed, and with thousands of turns in flight takes ten times as long as this one.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    rejoinder::cli::run(std::env::args_os())
}
