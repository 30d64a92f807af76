//! The steps of a start before the server runs. `serve` performs them; `check` fails where they would and changes
//! nothing.

use std::io;
use std::net::SocketAddr;
use std::path::Path;

use anyhow::{Context, bail, ensure};
use secrecy::ExposeSecret;
use tokio::net::{TcpListener, TcpSocket};

use super::Listeners;
use super::data_dir::{self, DataDirError, absolute, database_file};
use super::data_dir_lock::DataDirLock;
use crate::config::{Config, Database};
use crate::domain::clock::SystemClock;
use crate::service::secret_key;
use crate::store::db::OTHER_WRITES;
use crate::store::{Conn, Db, PostgresSettings, Schema, Tenant, describe_postgres, processes};

/// Connections that wait to be accepted, as in tokio's own listener.
const BACKLOG: u32 = 1024;

/// Whether a store that does not exist is created.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum IfMissing {
    /// The embedded database is created. PostgreSQL creates its databases itself.
    Create,
    Refuse,
}

/// The reserved addresses of a server. Clients cannot connect until [`ReservedAddresses::listen`].
#[derive(Debug)]
pub(super) struct ReservedAddresses {
    public: ReservedAddress,
    operator: Option<ReservedAddress>,
}

impl ReservedAddresses {
    /// Binds the configured addresses.
    pub(super) fn bind(config: &Config) -> anyhow::Result<Self> {
        let bind_operator = |address| ReservedAddress::bind(address, "REJOINDER_OPERATOR__LISTEN");
        Ok(Self {
            public: ReservedAddress::bind(config.listen, "REJOINDER_LISTEN")?,
            operator: config.operator.listen.map(bind_operator).transpose()?,
        })
    }

    /// Lets clients connect.
    pub(super) fn listen(self) -> anyhow::Result<Listeners> {
        let operator = self.operator.map(ReservedAddress::listen).transpose()?;
        Ok(Listeners { public: self.public.listen()?, operator })
    }
}

#[derive(Debug)]
struct ReservedAddress {
    socket: TcpSocket,
    address: SocketAddr,
    /// The environment variable of the setting.
    variable: &'static str,
}

impl ReservedAddress {
    fn bind(address: SocketAddr, variable: &'static str) -> anyhow::Result<Self> {
        let bind = || {
            let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
            // Otherwise a restart fails while connections of the former process are in TIME_WAIT.
            socket.set_reuseaddr(true)?;
            socket.bind(address)?;
            Ok(socket)
        };
        let socket = bind().map_err(|error| cannot_listen(address, variable, &error))?;
        Ok(Self { socket, address, variable })
    }

    fn listen(self) -> anyhow::Result<TcpListener> {
        self.socket.listen(BACKLOG).map_err(|error| cannot_listen(self.address, self.variable, &error))
    }
}

#[expect(clippy::wildcard_enum_match_arm, reason = "only these have an advice")]
fn cannot_listen(address: SocketAddr, variable: &str, error: &io::Error) -> anyhow::Error {
    let advice = match error.kind() {
        io::ErrorKind::AddrInUse => {
            "another program, perhaps another rejoinder, listens there: stop it, or set another address"
        }
        io::ErrorKind::AddrNotAvailable => {
            "no network interface of this machine has that address: use 127.0.0.1, or 0.0.0.0 for all interfaces"
        }
        io::ErrorKind::PermissionDenied => {
            "ports below 1024 require the capability CAP_NET_BIND_SERVICE: use a higher one"
        }
        _ => return anyhow::anyhow!("cannot listen on {address}: {error}"),
    };
    anyhow::anyhow!("cannot listen on {address}: {error}; {advice} ({variable})")
}

/// The store for people, without a password.
pub(super) fn describe_store(config: &Config) -> anyhow::Result<String> {
    Ok(match config.database() {
        Database::Sqlite { data_dir } => format!("SQLite {}", absolute(&database_file(&data_dir)).display()),
        Database::Postgres { url } => format!("PostgreSQL {}", describe_postgres(url.expose_secret())?),
    })
}

/// How a PostgreSQL database is used, with these numbers of connections.
pub(super) fn postgres_settings(
    config: &Config,
    write_connections: u32,
    read_connections: u32,
) -> PostgresSettings {
    PostgresSettings {
        write_connections,
        read_connections,
        statement_cache: config.store.statement_cache,
        transaction_pooler: config.store.transaction_pooler,
    }
}

/// Connects to the configured database.
pub(super) async fn open_store(config: &Config, if_missing: IfMissing) -> anyhow::Result<Db> {
    match config.database() {
        Database::Sqlite { data_dir } => {
            let file = database_file(&data_dir);
            match if_missing {
                IfMissing::Create => data_dir::create(&data_dir).context("the data folder cannot be used")?,
                IfMissing::Refuse if !exists(&data_dir)? => bail!(
                    "there is no database at {}; `rejoinder serve` and `rejoinder migrate` create it. If your \
                     server uses another one, run this command in the server's folder, or set \
                     REJOINDER_DATA_DIR or DATABASE_URL as the server does",
                    absolute(&file).display()
                ),
                IfMissing::Refuse => {}
            }
            let opened = Db::sqlite(&file).await;
            opened
                .map_err(|error| DataDirError::sqlite(&data_dir, &error))
                .context("the database cannot be opened")
        }
        Database::Postgres { url } => {
            let writing = u32::try_from(config.store.shards)? + OTHER_WRITES;
            let settings = postgres_settings(config, writing, config.store.read_connections);
            let opened = Db::postgres_with(url.expose_secret(), settings).await;
            opened.context("the database cannot be opened")
        }
    }
}

/// Opens the store of a server, locks it if it is embedded, and migrates it if that is configured.
pub(super) async fn open_server_store(config: &Config) -> anyhow::Result<(Db, Option<DataDirLock>)> {
    let if_missing = if config.store.migrate { IfMissing::Create } else { IfMissing::Refuse };
    let lock = match config.database() {
        Database::Sqlite { data_dir } => {
            if if_missing == IfMissing::Create {
                data_dir::create(&data_dir).context("the data folder cannot be used")?;
            }
            // A missing folder is the error of `open_store`.
            data_dir.exists().then(|| DataDirLock::acquire(&data_dir)).transpose()?
        }
        Database::Postgres { .. } => None,
    };
    let db = open_store(config, if_missing).await?;
    if let Database::Sqlite { data_dir } = config.database() {
        data_dir::restrict(&data_dir);
    }
    if config.store.migrate {
        let schema = db.schema().await.context("the database cannot be migrated")?;
        if schema == Schema::Outdated {
            secret_key::refuse_former_secrets(&db).await?;
        }
        db.migrate().await.context("the database cannot be migrated")?;
    } else {
        db.check_schema().await?;
    }
    Ok((db, lock))
}

/// Fails while a server uses the store, whose key must not change under it. The lock keeps others from starting.
pub(super) async fn require_no_server(config: &Config, db: &Db) -> anyhow::Result<Option<DataDirLock>> {
    match config.database() {
        Database::Sqlite { data_dir } => return Ok(Some(DataDirLock::acquire(&data_dir)?)),
        Database::Postgres { .. } => {
            let count = async |conn: Conn<'_>| processes::count_live(conn, &SystemClock).await;
            let count = db.read(Tenant::Process, count).await?;
            ensure!(
                count == 0,
                "processes that use this database: {count}; stop them first. One that was killed counts for `turn.lease`"
            );
        }
    }
    Ok(None)
}

/// The store of [`check_server_store`].
#[derive(Debug)]
pub(super) enum CheckedStore {
    /// `serve` creates it.
    Missing,
    /// `serve` migrates it first.
    NeedsMigration(Db),
    Ready(Db),
}

/// Fails where [`open_server_store`] would.
pub(super) async fn check_server_store(config: &Config) -> anyhow::Result<CheckedStore> {
    if let Database::Sqlite { data_dir } = config.database() {
        data_dir::check_writable(&data_dir).context("the data folder cannot be used")?;
        DataDirLock::check(&data_dir)?;
        if config.store.migrate && !exists(&data_dir)? {
            return Ok(CheckedStore::Missing);
        }
    }
    let db = open_store(config, IfMissing::Refuse).await?;
    match db.schema().await? {
        Schema::Empty | Schema::Outdated if config.store.migrate => {
            db.check_migration_rights().await?;
            Ok(CheckedStore::NeedsMigration(db))
        }
        schema @ (Schema::Ready
        | Schema::Empty
        | Schema::Outdated
        | Schema::TooNew
        | Schema::Incomplete(_)
        | Schema::Conflict(_)) => {
            schema.require_ready()?;
            db.check_table_rights().await?;
            Ok(CheckedStore::Ready(db))
        }
    }
}

fn exists(data_dir: &Path) -> Result<bool, DataDirError> {
    let file = database_file(data_dir);
    file.try_exists().map_err(|error| DataDirError::io(data_dir, &file, &error))
}
