//! Sections about the process: database and store, incoming connections, logs.

use std::net::SocketAddr;
use std::time::Duration;

use serde::Deserialize;

use super::value::{ByteSize, PostgresUrl, SettingValue, optional, required};

/// `[database]`; `Config::database` gives the resulting choice.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, expecting = "a section of settings")]
pub struct DatabaseSection {
    /// `None`: the embedded database.
    #[serde(deserialize_with = "optional")]
    pub url: Option<PostgresUrl>,
}

/// `[store]`: how the database is used.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, expecting = "a section of settings")]
pub struct Store {
    /// Shards of the write queue on PostgreSQL; the embedded database has one.
    #[serde(deserialize_with = "required")]
    pub shards: usize,
    /// Read connections, besides those of the shards.
    #[serde(deserialize_with = "required")]
    pub read_connections: u32,
    /// Statements that a connection to PostgreSQL keeps prepared.
    #[serde(deserialize_with = "required")]
    pub statement_cache: usize,
    /// Whether the URL leads to a pooler in transaction mode.
    #[serde(deserialize_with = "required")]
    pub transaction_pooler: bool,
    /// Whether `serve` migrates at its start.
    #[serde(deserialize_with = "required")]
    pub migrate: bool,
}

/// `[http]`: bounds of incoming connections.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, expecting = "a section of settings")]
pub struct Http {
    /// For a request's head to arrive.
    #[serde(deserialize_with = "required")]
    pub head_timeout: Duration,
    /// For a request's body to arrive.
    #[serde(deserialize_with = "required")]
    pub body_timeout: Duration,
    /// For a client to read any part of a response.
    #[serde(deserialize_with = "required")]
    pub write_timeout: Duration,
    /// Whether clients may use HTTP/2 without TLS.
    #[serde(deserialize_with = "required")]
    pub h2c: bool,
    /// For an HTTP/2 connection without an open stream.
    #[serde(deserialize_with = "required")]
    pub idle_timeout: Duration,
    /// Open connections; a few more are answered only about health.
    #[serde(deserialize_with = "required")]
    pub max_connections: usize,
    /// The same from one IPv4 address, or from one /64 network of IPv6.
    #[serde(deserialize_with = "required")]
    pub max_connections_per_address: usize,
    /// Of responses that clients have not read yet.
    #[serde(deserialize_with = "required")]
    pub max_unsent: ByteSize,
}

/// `[operator]`: the routes of the operator.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, expecting = "a section of settings")]
pub struct Operator {
    /// The address of their own listener. `None`: they are served at `Config::listen`.
    #[serde(deserialize_with = "optional")]
    pub listen: Option<SocketAddr>,
}

/// `[log]`: format and levels of logs.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, expecting = "a section of settings")]
pub struct Log {
    /// How a line looks.
    #[serde(deserialize_with = "required")]
    pub format: LogFormat,
    /// Levels, in the notation of `RUST_LOG`.
    #[serde(deserialize_with = "required")]
    pub filter: String,
}

/// How a log line looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// Text on a terminal, JSON elsewhere.
    Auto,
    Human,
    Json,
}

impl LogFormat {
    /// Whether lines are JSON; `terminal` says whether standard error is a terminal.
    pub fn is_json(self, terminal: bool) -> bool {
        match self {
            Self::Auto => !terminal,
            Self::Human => false,
            Self::Json => true,
        }
    }
}

impl SettingValue for LogFormat {
    const EXPECTED: &'static str = "`auto`, `human` or `json`";

    fn parse(text: &str) -> Option<Self> {
        match text {
            "auto" => Some(Self::Auto),
            "human" => Some(Self::Human),
            "json" => Some(Self::Json),
            _ => None,
        }
    }
}

/// Whether an empty database gets the demo workspace.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Demo {
    /// Only with the embedded database and a loopback address.
    Auto,
    On,
    Off,
}

impl SettingValue for Demo {
    const EXPECTED: &'static str = "`true`, `false` or `auto`";

    fn parse(text: &str) -> Option<Self> {
        match text {
            "auto" => Some(Self::Auto),
            "true" => Some(Self::On),
            "false" => Some(Self::Off),
            _ => None,
        }
    }
}
