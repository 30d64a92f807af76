//! The load generator behind `scripts/bench`: a model that responds immediately, a bare pass-through for comparison, clients of
//! both APIs, event readers, and a webhook receiver. It only uses the public HTTP APIs.

#![expect(clippy::print_stdout, reason = "a command line tool")]
#![expect(clippy::disallowed_methods, reason = "servers that only a benchmark meets")]

mod clients;
mod deliveries;
mod report;
mod servers;
mod streams;
mod table;
mod writer;

use std::net::SocketAddr;
use std::time::{Duration, SystemTime};

use clap::{Parser, Subcommand};

#[derive(Parser)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Serves an OpenAI-compatible model.
    Model {
        #[arg(long)]
        listen: SocketAddr,
        #[command(flatten)]
        pace: servers::Pace,
    },
    /// Serves a bare axum and reqwest pass-through of the widget API.
    PassThrough {
        #[arg(long)]
        listen: SocketAddr,
        /// The model's base URL.
        #[arg(long)]
        model: String,
    },
    /// Measures both APIs of a server, and the pass-through.
    Run(clients::Run),
    /// Measures one transaction for each message on SQLite.
    Writer(writer::Writer),
    /// Prints the table of a run.
    Table(table::Table),
    /// Measures the memory that open event streams use in a server.
    Streams(streams::Streams),
    /// Measures webhook deliveries of a server to one healthy endpoint.
    Deliveries(deliveries::Deliveries),
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let _ = rustls::crypto::ring::default_provider().install_default();
    match Arguments::parse().command {
        Command::Model { listen, pace } => servers::model(listen, pace).await,
        Command::PassThrough { listen, model } => servers::pass_through(listen, model).await,
        Command::Run(run) => run.measure().await,
        Command::Writer(writer) => writer.measure().await,
        Command::Table(table) => table.print(),
        Command::Streams(streams) => streams.measure().await,
        Command::Deliveries(deliveries) => deliveries.measure().await,
    }
}

/// The time since 1970, the same for the model and the clients, which run on one machine.
fn time() -> anyhow::Result<Duration> {
    Ok(SystemTime::now().duration_since(SystemTime::UNIX_EPOCH)?)
}

/// A client for this machine only, without a limit of connections.
fn http_client() -> reqwest::Result<reqwest::Client> {
    reqwest::Client::builder().no_proxy().tls_certs_only([]).timeout(Duration::from_mins(1)).build()
}
