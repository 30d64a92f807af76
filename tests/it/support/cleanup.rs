//! Asynchronous work in a guard's `drop`.

/// Runs a future to its end on a new thread, because the test's runtime may have ended, or would be blocked. Errors are ignored:
/// everything that a test creates is removed after the run.
pub fn run_apart<F: Future>(work: impl FnOnce() -> F + Send + 'static) {
    let apart = std::thread::spawn(move || {
        if let Ok(runtime) = tokio::runtime::Builder::new_current_thread().enable_all().build() {
            runtime.block_on(work());
        }
    });
    let _ = apart.join();
}
