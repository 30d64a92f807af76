//! Why a PostgreSQL database cannot be reached, and what an operator can do about it. No text contains the password.

use std::io::ErrorKind;

use sqlx::postgres::PgConnectOptions;

use super::StoreError;
use super::error::{driver_message, is_closed};
use super::pool::is_unusable_server;

/// No connection to a PostgreSQL database.
#[derive(Debug, thiserror::Error)]
#[error("no connection to {target}: {cause}{}", .advice.as_ref().map_or_else(String::new, |advice| format!("; {advice}")))]
pub struct ConnectError {
    /// Host, port, database and user.
    target: String,
    /// The message of the system or the database.
    cause: String,
    advice: Option<String>,
}

impl ConnectError {
    pub(super) fn new(options: &PgConnectOptions, error: &sqlx::Error) -> Self {
        Self { target: target(options), cause: cause(error), advice: advice(options, error) }
    }
}

/// The database of a URL for people: host, port, database and user.
///
/// # Errors
///
/// [`StoreError::Unusable`] if it is not the URL of a PostgreSQL database.
pub fn describe_postgres(url: &str) -> Result<String, StoreError> {
    Ok(target(&parse(url, 1)?))
}

/// The parameters of a URL about TLS. sqlx ignores unknown ones, so a misspelled one would turn TLS off.
const TLS_PARAMETERS: [&str; 9] = [
    "sslmode",
    "ssl-mode",
    "sslrootcert",
    "ssl-root-cert",
    "ssl-ca",
    "sslcert",
    "ssl-cert",
    "sslkey",
    "ssl-key",
];

fn unknown_tls_parameter(url: &str) -> Option<String> {
    let url = url::Url::parse(url).ok()?;
    let is_unknown = |name: &String| name.starts_with("ssl") && !TLS_PARAMETERS.contains(&name.as_str());
    url.query_pairs().map(|(name, _)| name.into_owned()).find(is_unknown)
}

/// The parameter of a URL that is used instead of `store.statement_cache`.
const STATEMENT_CACHE: &str = "statement-cache-capacity";

fn parameter(url: &str, name: &str) -> Option<String> {
    let url = url::Url::parse(url).ok()?;
    url.query_pairs().find(|(known, _)| known == name).map(|(_, value)| value.into_owned())
}

/// The options of a URL.
pub(super) fn parse(url: &str, statement_cache: usize) -> Result<PgConnectOptions, StoreError> {
    if let Some(name) = unknown_tls_parameter(url) {
        let known = TLS_PARAMETERS.join(", ");
        let text = format!("DATABASE_URL has the unknown parameter `{name}`; known are: {known}");
        return Err(StoreError::Unusable(text));
    }
    let options: PgConnectOptions = url.parse().map_err(|error: sqlx::Error| {
        StoreError::Unusable(format!("DATABASE_URL is not the address of a PostgreSQL database: {error}"))
    })?;
    match parameter(url, STATEMENT_CACHE).map(|value| value.parse::<usize>()) {
        // sqlx then names each statement anew and closes none.
        Some(Ok(0)) => Err(StoreError::Unusable(format!(
            "the parameter `{STATEMENT_CACHE}` of DATABASE_URL is 0: expected 1 or more. A pooler must keep prepared \
             statements; PgBouncer does from version 1.21 on, with `max_prepared_statements`"
        ))),
        Some(_) => Ok(options),
        None => Ok(options.statement_cache_capacity(statement_cache)),
    }
}

fn target(options: &PgConnectOptions) -> String {
    let host = match options.get_socket() {
        Some(folder) => folder.display().to_string(),
        None => options.get_host().to_owned(),
    };
    let user = options.get_username();
    format!("{host}:{} (database {}, user {user})", options.get_port(), database(options))
}

/// PostgreSQL's default is the name of the user.
fn database(options: &PgConnectOptions) -> &str {
    options.get_database().unwrap_or(options.get_username())
}

#[expect(clippy::wildcard_enum_match_arm, reason = "the others have the message of the driver")]
fn cause(error: &sqlx::Error) -> String {
    match error {
        sqlx::Error::PoolTimedOut => "no answer within 3 s".to_owned(),
        other => driver_message(other),
    }
}

#[expect(clippy::wildcard_enum_match_arm, reason = "only these have an advice")]
fn advice(options: &PgConnectOptions, error: &sqlx::Error) -> Option<String> {
    let text = match error {
        error if is_unusable_server(error) => {
            "check that DATABASE_URL leads to the primary, and that a proxy in between finds it"
        }
        error if is_closed(error) => {
            "check that a server is up behind the proxy, and that the proxy's own check finds the primary"
        }
        sqlx::Error::Io(error) if error.kind() == ErrorKind::ConnectionRefused => {
            "no server listens there: check host and port, and that PostgreSQL is running"
        }
        sqlx::Error::Io(error) if error.to_string().contains("lookup") => {
            "the host name does not resolve: check its spelling and the network's name server"
        }
        sqlx::Error::PoolTimedOut => "check host and port, and that no firewall drops the packets",
        sqlx::Error::Tls(_) => {
            "TLS is not possible: check `sslmode` and `sslrootcert` in DATABASE_URL, and the server's certificate"
        }
        sqlx::Error::Database(error) => return database_advice(options, error.code().as_deref()?),
        _ => return None,
    };
    Some(text.to_owned())
}

/// By SQLSTATE.
fn database_advice(options: &PgConnectOptions, code: &str) -> Option<String> {
    let text = match code {
        "28P01" => {
            "check the user and the password in DATABASE_URL; special characters must be percent-encoded"
        }
        "28000" => {
            "check the user in DATABASE_URL, its line in pg_hba.conf, and whether that requires TLS (sslmode=require)"
        }
        "3D000" => {
            let (name, user) = (database(options), options.get_username());
            return Some(format!("create it as an administrator: CREATE DATABASE {name} OWNER {user}"));
        }
        "53300" => {
            "stop other clients, raise max_connections of the server, or lower `store.shards` and \
             `store.read_connections`"
        }
        "57P03" => "the server is starting or stopping: try again in a few seconds",
        _ => return None,
    };
    Some(text.to_owned())
}
