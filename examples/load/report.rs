//! The figures of a measurement, and the file that collects them for the [table](crate::table).

#![expect(
    clippy::float_arithmetic,
    clippy::cast_precision_loss,
    reason = "rates and ratios for a reader, no money"
)]

use std::fs::OpenOptions;
use std::io::Write as _;
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

/// Where a command adds its figures.
#[derive(Args)]
pub(crate) struct Results {
    /// The file; each line is `DATABASE MEASURE VALUE`.
    #[arg(long)]
    results: PathBuf,
    /// The column of the table.
    #[arg(long)]
    database: String,
}

impl Results {
    pub(crate) fn add(&self, measure: &str, value: f64) -> anyhow::Result<()> {
        let mut file = OpenOptions::new().create(true).append(true).open(&self.results)?;
        writeln!(file, "{} {measure} {value}", self.database)?;
        Ok(())
    }

    /// Adds how many times a second something was done, and how long that took.
    pub(crate) fn add_rate(&self, measure: &str, count: i64, length: Duration) -> anyhow::Result<()> {
        let rate = count as f64 / length.as_secs_f64();
        println!("{:<10}{measure:<28}{rate:>10.0}/s", self.database);
        self.add(&format!("{measure}.rate"), rate)?;
        self.add(&format!("{measure}.p50"), 1000.0 / rate)
    }

    pub(crate) fn add_figures(&self, measure: &str, figures: &Figures) -> anyhow::Result<()> {
        let (rate, p50, p99) = (figures.rate(), figures.percentile(50), figures.percentile(99));
        let cpu = figures.cpu.map(|cpu| cpu.as_secs_f64() * 1e6 / figures.times.len().max(1) as f64);
        let shown = cpu.map_or_else(String::new, |cpu| format!("{cpu:>8.0} µs CPU"));
        println!(
            "{:<10}{measure:<28}{rate:>10.0}/s  p50 {p50:>8.2} ms  p99 {p99:>8.2} ms{shown}",
            self.database
        );
        self.add(&format!("{measure}.rate"), rate)?;
        self.add(&format!("{measure}.p50"), p50)?;
        self.add(&format!("{measure}.p99"), p99)?;
        cpu.map_or(Ok(()), |cpu| self.add(&format!("{measure}.cpu"), cpu))
    }
}

pub(crate) struct Figures {
    /// Sorted.
    times: Vec<Duration>,
    length: Duration,
    /// The CPU time of the server meanwhile.
    cpu: Option<Duration>,
}

impl Figures {
    pub(crate) fn new(mut times: Vec<Duration>, length: Duration, cpu: Option<Duration>) -> Self {
        times.sort_unstable();
        Self { times, length, cpu }
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
