//! The table of a run: ratios of figures of the same run, each beside its goal.

#![expect(clippy::float_arithmetic, reason = "ratios for a reader, no money")]

use std::collections::HashMap;
use std::path::PathBuf;

use anyhow::Context as _;
use clap::Args;

/// The parameters of the table.
#[derive(Args)]
pub(crate) struct Table {
    /// The file that the measurements wrote.
    results: PathBuf,
}

const DATABASES: [&str; 2] = ["sqlite", "postgres"];

/// The goals for one database: what must be reached, and what is aimed for.
#[derive(Clone, Copy)]
enum Goal {
    AtLeast(f64, f64),
    AtMost(f64),
    None,
}

struct Row {
    label: &'static str,
    unit: &'static str,
    value: fn(&Figures) -> Option<f64>,
    /// For SQLite, for PostgreSQL.
    goals: [Goal; 2],
}

/// The figures of one database by measure.
struct Figures(HashMap<String, f64>);

impl Figures {
    fn get(&self, measure: &str) -> Option<f64> {
        self.0.get(measure).copied()
    }

    fn ratio(&self, measure: &str, of: &str) -> Option<f64> {
        Some(self.get(measure)? / self.get(of)?)
    }
}

/// The tokens of a reply in `scripts/bench`.
const TOKENS: f64 = 100.0;

const ROWS: [Row; 25] = [
    Row {
        label: "enqueue, 64 clients, of one transaction a message",
        unit: "x",
        value: |figures| figures.ratio("enqueue-64.rate", "writer-64.rate"),
        goals: [Goal::AtLeast(1.8, 2.5), Goal::AtLeast(1.3, 1.8)],
    },
    Row {
        label: "the same, the database analysed",
        unit: "x",
        value: |figures| figures.ratio("enqueue-64-analysed.rate", "writer-64.rate"),
        goals: [Goal::None, Goal::AtLeast(1.3, 1.8)],
    },
    Row {
        label: "enqueue with replies beside it, of the same",
        unit: "x",
        value: |figures| figures.ratio("reply-64.rate", "writer-64.rate"),
        goals: [Goal::None, Goal::None],
    },
    Row {
        label: "widget turn, 64 clients, of the pass-through",
        unit: "x",
        value: |figures| figures.ratio("widget-64.rate", "pass-through-64.rate"),
        goals: [Goal::AtLeast(0.12, 0.2), Goal::AtLeast(0.1, 0.15)],
    },
    Row {
        label: "CPU of the server for a widget turn",
        unit: "µs",
        value: |figures| figures.get("widget-64.cpu"),
        goals: [Goal::None, Goal::None],
    },
    Row {
        label: "widget turn, 1 client, p50",
        unit: "ms",
        value: |figures| figures.get("widget-1.p50"),
        goals: [Goal::AtMost(1.0), Goal::None],
    },
    Row {
        label: "the same, in transactions of 1 client",
        unit: "x",
        value: |figures| figures.ratio("widget-1.p50", "writer-1.p50"),
        goals: [Goal::None, Goal::AtMost(4.0)],
    },
    Row {
        label: "model 1 s, 500 in flight: p50 over the pass-through's",
        unit: "ms",
        value: |figures| Some(figures.get("widget-500.p50")? - figures.get("pass-through-500.p50")?),
        goals: [Goal::None, Goal::None],
    },
    Row {
        label: "the same, p99",
        unit: "ms",
        value: |figures| Some(figures.get("widget-500.p99")? - figures.get("pass-through-500.p99")?),
        goals: [Goal::AtMost(15.0), Goal::AtMost(15.0)],
    },
    Row {
        label: "model 5 s, 9,000 in flight: memory, of the pass-through's",
        unit: "x",
        value: |figures| figures.ratio("widget-9000.peak", "pass-through-9000.peak"),
        goals: [Goal::AtMost(1.5), Goal::AtMost(1.5)],
    },
    Row {
        label: "64 streams: from the model's first token to the client's, p50",
        unit: "ms",
        value: |figures| figures.get("stream-64.p50"),
        goals: [Goal::None, Goal::None],
    },
    Row {
        label: "the same, p99",
        unit: "ms",
        value: |figures| figures.get("stream-64.p99"),
        goals: [Goal::AtMost(20.0), Goal::AtMost(20.0)],
    },
    Row {
        label: "CPU of the server for a token of a stream, beyond that of a JSON reply",
        unit: "µs",
        value: |figures| {
            Some((figures.get("stream-64.cpu")? - figures.get("widget-64-tokens.cpu")?) / TOKENS)
        },
        goals: [Goal::None, Goal::None],
    },
    Row {
        label: "1,000 open streams: memory of each beyond the idle server's",
        unit: "KiB",
        value: |figures| Some((figures.get("stream-1000.peak")? - figures.get("stream-1000.idle")?) / 1000.0),
        goals: [Goal::None, Goal::None],
    },
    Row {
        label: "turn in a history of 10,000 messages, of one in a short history",
        unit: "x",
        value: |figures| figures.ratio("widget-1-long.p50", "widget-1.p50"),
        goals: [Goal::None, Goal::None],
    },
    Row {
        label: "the same, of one in a history of 128, which fills what the model gets",
        unit: "x",
        value: |figures| figures.ratio("widget-1-long.p50", "widget-1-window.p50"),
        goals: [Goal::AtMost(1.1), Goal::AtMost(1.1)],
    },
    Row {
        label: "turn beside 1,000,000 conversations, of one in a small store",
        unit: "x",
        value: |figures| figures.ratio("widget-1-large.p50", "widget-1.p50"),
        goals: [Goal::AtMost(1.1), Goal::AtMost(1.1)],
    },
    Row {
        label: "64 workspaces, 64 clients, of one workspace",
        unit: "x",
        value: |figures| figures.ratio("widget-64-workspaces.rate", "widget-64.rate"),
        goals: [Goal::None, Goal::None],
    },
    Row {
        label: "the same, two processes, of one process",
        unit: "x",
        value: |figures| figures.ratio("widget-64-workspaces-2.rate", "widget-64-workspaces.rate"),
        goals: [Goal::None, Goal::AtLeast(0.8, 1.0)],
    },
    Row {
        label: "the same, three processes",
        unit: "x",
        value: |figures| figures.ratio("widget-64-workspaces-3.rate", "widget-64-workspaces.rate"),
        goals: [Goal::None, Goal::AtLeast(0.8, 1.0)],
    },
    Row {
        label: "one workspace, two processes, of one process",
        unit: "x",
        value: |figures| figures.ratio("widget-64-shared.rate", "widget-64.rate"),
        goals: [Goal::None, Goal::None],
    },
    Row {
        label: "webhooks delivered, one healthy endpoint, a replay",
        unit: "/s",
        value: |figures| figures.get("webhooks.rate"),
        goals: [Goal::None, Goal::None],
    },
    Row {
        label: "resident memory, idle",
        unit: "MiB",
        value: |figures| figures.get("idle"),
        goals: [Goal::AtMost(25.0), Goal::AtMost(25.0)],
    },
    Row {
        label: "ready after the start",
        unit: "ms",
        value: |figures| figures.get("start"),
        goals: [Goal::AtMost(100.0), Goal::AtMost(100.0)],
    },
    Row {
        label: "binary of this profile",
        unit: "MiB",
        value: |figures| figures.get("binary"),
        goals: [Goal::None, Goal::None],
    },
];

impl Table {
    pub(crate) fn print(&self) -> anyhow::Result<()> {
        let text = std::fs::read_to_string(&self.results)?;
        let mut databases = DATABASES.map(|_| Figures(HashMap::new()));
        for line in text.lines() {
            let mut words = line.split(' ');
            let (database, measure, value) = (words.next(), words.next(), words.next());
            let column = DATABASES.iter().position(|name| Some(*name) == database).context("a database")?;
            let measure = measure.context("a measure")?.to_owned();
            databases[column].0.insert(measure, value.context("a value")?.parse()?);
        }
        println!("\n| | SQLite | goal | PostgreSQL | goal |\n|---|---|---|---|---|");
        for row in ROWS {
            let cells: Vec<_> = databases
                .iter()
                .zip(row.goals)
                .map(|(figures, goal)| cells(row.unit, (row.value)(figures), goal))
                .collect();
            println!("| {} | {} |", row.label, cells.join(" | "));
        }
        Ok(())
    }
}

fn cells(unit: &str, value: Option<f64>, goal: Goal) -> String {
    let goal_text = match goal {
        Goal::AtLeast(must, aim) => format!("≥ {must}, aim {aim}"),
        Goal::AtMost(most) => format!("≤ {most}"),
        Goal::None => String::new(),
    };
    let Some(value) = value else { return format!(" | {goal_text}") };
    let is_missed = match goal {
        Goal::AtLeast(must, _) => value < must,
        Goal::AtMost(most) => value > most,
        Goal::None => false,
    };
    let decimals = if value < 10.0 { 2 } else { 0 };
    format!("{value:.decimals$} {unit}{} | {goal_text}", if is_missed { " (missed)" } else { "" })
}
