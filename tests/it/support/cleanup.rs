//! Asynchronous work in a guard's `drop`.

/// Runs a future to its end on a thread of its own: the test's runtime may be gone, or be the one that waiting would block.
/// What goes wrong is left: all that a test makes goes with the run.
pub fn run_apart<F: Future>(work: impl FnOnce() -> F + Send + 'static) {
    let apart = std::thread::spawn(move || {
        if let Ok(runtime) = tokio::runtime::Builder::new_current_thread().enable_all().build() {
            runtime.block_on(work());
        }
    });
    let _ = apart.join();
}
