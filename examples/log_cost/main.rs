//! Measures the cost of the event log for admissions. Commits batches of messages like the writer: without the log, with
//! cursors from the counter under the workspace's lock (as in the server), and with cursors from a sequence. The three
//! alternate in one run, because only the ratios are meaningful.
//!
//! ```text
//! cargo run --release --example log_cost                            SQLite
//! scripts/postgres run cargo run --release --example log_cost       PostgreSQL, by TEST_POSTGRES_URL
//! ```

#![expect(clippy::print_stdout, reason = "a command line tool")]
#![expect(
    clippy::disallowed_methods,
    reason = "it makes its own ids and tasks, and has a variable of its own"
)]
#![expect(
    clippy::float_arithmetic,
    clippy::cast_precision_loss,
    reason = "rates and ratios for a reader, no money"
)]

mod batch;
mod seed;

use std::time::{Duration, Instant};

use anyhow::Context as _;
use clap::Parser;
use rejoinder::store::Db;
use tokio::task::JoinSet;

use batch::{Log, Shard};

#[derive(Parser)]
struct Arguments {
    /// Seconds for each method and shape, in each round.
    #[arg(long, default_value_t = 2)]
    seconds: u64,
    #[arg(long, default_value_t = 3)]
    rounds: u32,
    /// Messages of one batch.
    #[arg(long, default_value_t = 64)]
    batch: usize,
}

/// The number of workspaces that are written to, of processes, and of shards in each process.
struct Shape {
    workspaces: usize,
    processes: usize,
    shards: usize,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    let folder = tempfile::tempdir()?;
    let url = std::env::var("TEST_POSTGRES_URL").ok();
    let open = async || match &url {
        Some(url) => Db::postgres(url, 4, 1).await,
        None => Db::sqlite(&folder.path().join("log_cost.db")).await,
    };
    let first = open().await?;
    first.migrate().await?;
    println!("{:<44}{:>12}{:>10}{:>10}", "", "no log", "counter", "sequence");
    for (workspaces, processes) in [(1, 1), (256, 1), (1, 3), (256, 3)] {
        let shape = match url {
            Some(_) => Shape { workspaces, processes, shards: 4 },
            None if processes == 1 => Shape { workspaces, processes, shards: 1 },
            // Only one process can use an SQLite file.
            None => continue,
        };
        let mut dbs = Vec::new();
        for _ in 0..shape.processes {
            dbs.push(open().await?);
        }
        measure(&arguments, &shape, &dbs).await?;
    }
    Ok(())
}

/// Runs the methods alternately, and prints the rate without the log and the fractions of it with the log.
async fn measure(arguments: &Arguments, shape: &Shape, dbs: &[Db]) -> anyhow::Result<()> {
    let tenants = seed::tenants(dbs.first().context("a process")?, shape.workspaces).await?;
    let (mut messages, mut spent) = ([0_usize; 3], [Duration::ZERO; 3]);
    for _ in 0..arguments.rounds {
        for (way, log) in [Log::None, Log::Counter, Log::Sequence].into_iter().enumerate() {
            let begun = Instant::now();
            let end = begun + Duration::from_secs(arguments.seconds);
            let mut shards = JoinSet::new();
            for db in dbs {
                for nth in 0..shape.shards {
                    // A workspace always maps to the same shard of its process.
                    let own: Vec<_> = tenants.iter().skip(nth).step_by(shape.shards).copied().collect();
                    if !own.is_empty() {
                        shards.spawn(Shard::new(db.clone(), own, arguments.batch, log).run(end));
                    }
                }
            }
            while let Some(shard) = shards.join_next().await {
                messages[way] += shard??;
            }
            spent[way] += begun.elapsed();
        }
    }
    let rate = |way: usize| messages[way] as f64 / spent[way].as_secs_f64();
    let name =
        format!("{} workspaces, {} processes of {} shards", shape.workspaces, shape.processes, shape.shards);
    println!("{name:<44}{:>10.0}/s{:>10.2}{:>10.2}", rate(0), rate(1) / rate(0), rate(2) / rate(0));
    Ok(())
}
