//! The `rejoinder` program.

use std::process::ExitCode;

/// With thousands of turns in flight, the allocator of glibc takes a third more memory, and stops every thread for 200 ms to tidy up.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    rejoinder::cli::run(std::env::args_os())
}
