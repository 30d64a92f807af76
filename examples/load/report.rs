//! Prints the result of a measurement as a line of a table.

#![expect(
    clippy::float_arithmetic,
    clippy::cast_precision_loss,
    reason = "rates and ratios for a reader, no money"
)]

use std::time::Duration;

pub(crate) struct Figures {
    /// Sorted.
    times: Vec<Duration>,
    failed: usize,
    length: Duration,
}

impl Figures {
    pub(crate) fn new(mut times: Vec<Duration>, failed: usize, length: Duration) -> Self {
        times.sort_unstable();
        Self { times, failed, length }
    }

    /// Successful messages per second.
    fn rate(&self) -> f64 {
        self.times.len() as f64 / self.length.as_secs_f64()
    }

    /// A percentile of the response times, in milliseconds.
    fn percentile(&self, percent: usize) -> f64 {
        let at = (self.times.len() * percent / 100).min(self.times.len().saturating_sub(1));
        self.times.get(at).map_or(f64::NAN, |time| time.as_secs_f64() * 1000.0)
    }
}

pub(crate) fn print_head() {
    println!(
        "{:<18}{:>8}{:>12}{:>10}{:>10}{:>8}{:>18}",
        "", "clients", "messages/s", "p50 ms", "p99 ms", "failed", "of pass-through"
    );
}

/// `bare` has the figures of the pass-through with the same number of clients.
pub(crate) fn print_line(name: &str, clients: usize, figures: &Figures, bare: Option<&Figures>) {
    let (rate, p50, p99) = (figures.rate(), figures.percentile(50), figures.percentile(99));
    let ratio = bare.map_or_else(String::new, |bare| format!("{:.2}", rate / bare.rate()));
    let failed = figures.failed;
    println!("{name:<18}{clients:>8}{rate:>12.0}{p50:>10.2}{p99:>10.2}{failed:>8}{ratio:>18}");
}
