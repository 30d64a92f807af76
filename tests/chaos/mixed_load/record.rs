//! What happened during the load, by time: a table for spreadsheets, and a graph.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;
use std::sync::{Mutex, MutexGuard};
use std::time::{Duration, Instant};

/// A line of the table.
const INTERVAL: Duration = Duration::from_secs(5);
/// Errors that are kept to be shown; all are counted.
const SHOWN_ERRORS: usize = 20;

pub struct Record {
    began: Instant,
    samples: Mutex<Samples>,
}

#[derive(Default)]
pub struct Samples {
    /// The end of each honest request, and how long it took.
    requests: Vec<(Duration, Duration)>,
    /// The resident memory of the server, in KiB.
    memory: Vec<(Duration, u64)>,
    pub errors: usize,
    pub shown_errors: Vec<String>,
    pub ready: usize,
    /// By attack: the number of each outcome.
    pub attacks: BTreeMap<&'static str, BTreeMap<String, u64>>,
}

impl Record {
    pub fn new() -> Self {
        Self { began: Instant::now(), samples: Mutex::default() }
    }

    pub fn elapsed(&self) -> Duration {
        self.began.elapsed()
    }

    pub fn samples(&self) -> MutexGuard<'_, Samples> {
        self.samples.lock().unwrap()
    }

    /// A successful request of an honest client.
    pub fn request(&self, began: Instant) {
        let request = (self.elapsed(), began.elapsed());
        self.samples().requests.push(request);
    }

    pub fn memory(&self, kib: u64) {
        let sample = (self.elapsed(), kib);
        self.samples().memory.push(sample);
    }

    pub fn ready(&self) {
        self.samples().ready += 1;
    }

    /// Something that an honest client must never see.
    pub fn error(&self, error: String) {
        let mut samples = self.samples();
        samples.errors += 1;
        if samples.shown_errors.len() < SHOWN_ERRORS {
            samples.shown_errors.push(error);
        }
    }

    pub fn attack(&self, attack: &'static str, outcome: &str) {
        let mut samples = self.samples();
        *samples.attacks.entry(attack).or_default().entry(outcome.to_owned()).or_default() += 1;
    }
}

impl Samples {
    /// The times of honest requests, the shortest first.
    pub fn times(&self, from: Duration, until: Duration) -> Vec<Duration> {
        let within = self.requests.iter().filter(|(at, _)| (from..until).contains(at));
        let mut times: Vec<_> = within.map(|(_, time)| *time).collect();
        times.sort_unstable();
        times
    }

    /// The median of the memory, in KiB.
    pub fn memory(&self, from: Duration, until: Duration) -> u64 {
        let within = self.memory.iter().filter(|(at, _)| (from..until).contains(at));
        let mut memory: Vec<_> = within.map(|(_, kib)| *kib).collect();
        memory.sort_unstable();
        memory.get(memory.len() / 2).copied().unwrap_or_default()
    }

    /// Writes `<name>.csv` and `<name>.svg`.
    pub fn write(&self, folder: &Path, name: &str, attacked: Duration, until: Duration) {
        let mut lines = Vec::new();
        let mut from = Duration::ZERO;
        while from < until {
            let times = self.times(from, from + INTERVAL);
            lines.push(Line {
                at: from.as_secs(),
                memory: self.memory(from, from + INTERVAL) / 1024,
                requests: times.len(),
                p50: percentile(&times, 50),
                p99: percentile(&times, 99),
            });
            from += INTERVAL;
        }
        let mut table = "seconds,memory_mib,requests,p50_ms,p99_ms\n".to_owned();
        for Line { at, memory, requests, p50, p99 } in &lines {
            writeln!(table, "{at},{memory},{requests},{p50},{p99}").unwrap();
        }
        std::fs::write(folder.join(format!("{name}.csv")), table).unwrap();
        let graph = graph(name, &lines, attacked.as_secs(), until.as_secs());
        std::fs::write(folder.join(format!("{name}.svg")), graph).unwrap();
    }
}

/// An interval of the load.
struct Line {
    /// Seconds since the beginning.
    at: u64,
    /// MiB.
    memory: u64,
    requests: usize,
    /// Milliseconds.
    p50: u64,
    p99: u64,
}

/// In milliseconds, of sorted times.
pub fn percentile(times: &[Duration], percent: usize) -> u64 {
    let index = (times.len() * percent / 100).min(times.len().saturating_sub(1));
    times.get(index).map_or(0, |time| u64::try_from(time.as_millis()).unwrap())
}

/// Label, colour, lower edge, and the value that it shows.
type Panel = (&'static str, &'static str, u64, fn(&Line) -> u64);

/// Memory and p99 over time, one above the other. The time under attack has a background.
fn graph(name: &str, lines: &[Line], attacked: u64, until: u64) -> String {
    let x = |at: u64| 60 + 800 * at / until.max(1);
    let background = x(until) - x(attacked);
    let mut svg = format!(
        r##"<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 900 500" font-family="sans-serif" font-size="13">
<rect width="900" height="500" fill="#fff"/>
<rect x="{}" y="40" width="{background}" height="420" fill="#fdecea"/>
<text x="60" y="24">{name}: honest clients alone, then under attack (red background), {until} s</text>
"##,
        x(attacked),
    );
    let panels: [Panel; 2] = [
        ("memory of the server, MiB", "#1f5fa8", 220, |line| line.memory),
        ("honest clients' p99, ms", "#b03a2e", 450, |line| line.p99),
    ];
    for (label, colour, bottom, value) in panels {
        let most = lines.iter().map(value).max().unwrap_or_default().max(1);
        let y = |line| bottom - 160 * value(line) / most;
        let points: Vec<_> = lines.iter().map(|line| format!("{},{}", x(line.at), y(line))).collect();
        let (top, points) = (bottom - 160, points.join(" "));
        write!(
            svg,
            r#"<text x="60" y="{}" fill="{colour}">{label}</text>
<text x="52" y="{}" text-anchor="end">{most}</text>
<text x="52" y="{bottom}" text-anchor="end">0</text>
<path d="M60 {top}V{bottom}H860" fill="none" stroke="black"/>
<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="2"/>
"#,
            top - 8,
            top + 5,
        )
        .unwrap();
    }
    svg + "</svg>\n"
}
