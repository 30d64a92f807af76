//! The yardstick of the platform API on SQLite: a program that stores each message in a transaction of its own, with the
//! durability of the server. On PostgreSQL, `pgbench` does the same.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use clap::Args;
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqliteSynchronous};
use sqlx::{ConnectOptions as _, Connection as _};

use crate::report::Results;

/// The parameters of the measurement.
#[derive(Args)]
pub(crate) struct Writer {
    /// A new database file.
    #[arg(long)]
    file: PathBuf,
    #[arg(long, default_value_t = 5)]
    seconds: u64,
    #[command(flatten)]
    results: Results,
}

impl Writer {
    pub(crate) async fn measure(self) -> anyhow::Result<()> {
        let options = SqliteConnectOptions::new()
            .filename(&self.file)
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Full);
        let mut connection = options.connect().await?;
        let create =
            "create table messages (id integer primary key, conversation integer, text text, at integer)";
        sqlx::query(create).execute(&mut connection).await?;
        let insert = "insert into messages (conversation, text, at) values ($1, $2, $3)";
        let (begun, length) = (Instant::now(), Duration::from_secs(self.seconds));
        let mut written = 0_i64;
        while begun.elapsed() < length {
            let query = sqlx::query(insert).bind(written % 2048).bind("When are you open?").bind(written);
            query.execute(&mut connection).await?;
            written += 1;
        }
        connection.close().await?;
        let length = begun.elapsed();
        // Writers take turns, so that 64 of them write no more than one.
        ["writer-1", "writer-64"]
            .iter()
            .try_for_each(|measure| self.results.add_rate(measure, written, length))
    }
}
