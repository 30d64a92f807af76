//! All SQL, with one text for both databases wherever possible. Functions take a [`Conn`] and the workspace whose rows
//! they touch. A missing row is `None`; the service that knows its meaning turns it into an error.
//!
//! The dialects differ ([`Conn::pick`]) in row locks, the clock, the claims of queued turns and deliveries, and full-text
//! search.
//!
//! | module | tables |
//! |---|---|
//! | [`workspaces`] | `workspaces`, `workspace_state` |
//! | [`workspace_removal`] | the rows of deleted workspaces, in all tables |
//! | [`workspace_config`] | `calendars` and `tools` as configuration |
//! | [`assistants`] | `assistants`, `assistant_versions` |
//! | [`identity_secrets`] | `identity_secrets` |
//! | [`keys`] | `api_keys` |
//! | [`operator_keys`] | `operator_keys` |
//! | [`audit`] | `audit_log` |
//! | [`erasures`] | `erasures`, and the rows of deleted conversations |
//! | [`retention`] | `journal` and `audit_log`, beyond the retention of their workspaces |
//! | [`conversations`] | `conversations`, `widget_links` |
//! | [`untouched`] | `conversations` that visitors created and never used |
//! | [`messages`] | `messages` |
//! | [`message_index`] | `message_index`, `message_index_state`; on SQLite also `message_search` |
//! | [`turns`] | `turns`, `journal`, `cancellations` |
//! | [`typing`] | `typing` |
//! | [`tools`] | `tools` as resources |
//! | [`bookings`] | `bookings` |
//! | [`calendars`] | `calendars`, `calendar_links` |
//! | [`knowledge`] | `knowledge_bases`, `documents`, `passages`, `terms`, `passage_vectors`, `embedding_models`, `document_embeddings` |
//! | [`ledger`] | `ledger` |
//! | [`events`] | `events` |
//! | [`epoch`] | `store_epoch` |
//! | [`webhook_endpoints`] | `webhook_endpoints` |
//! | [`usage`] | `usage_counts`, `usage_positions` |
//! | [`deliveries`] | `deliveries`, `attempts` |
//! | [`idempotency`] | `idempotency` |
//! | [`integrity`] | the tables that grow, read only |
//! | [`processes`] | `processes` |
//! | [`seal_keys`] | `seal_keys` |
//! | [`sealed_secrets`] | the columns with sealed secrets, to encrypt them anew |
//!
//! [`stored_json`] reads the configuration in the text columns of `assistant_versions`, `calendars` and `tools`.
//! [`db`] has the pools, connections, transactions and the mapping between types and rows; it reads `schema_floor`.

pub mod assistants;
pub mod audit;
pub mod bookings;
pub mod calendars;
pub mod conversations;
pub mod db;
pub mod deliveries;
pub mod epoch;
pub mod erasures;
pub mod events;
pub mod idempotency;
pub mod identity_secrets;
pub mod integrity;
pub mod keys;
pub mod knowledge;
pub mod ledger;
pub mod message_index;
pub mod messages;
pub mod operator_keys;
pub mod ownership;
pub mod processes;
pub mod resource;
pub mod retention;
pub mod seal_keys;
pub mod sealed_secrets;
pub mod stored_json;
pub mod tools;
pub mod turns;
pub mod typing;
pub mod untouched;
pub mod usage;
pub mod webhook_endpoints;
pub mod workspace_config;
pub mod workspace_removal;
pub mod workspaces;

pub use db::Statements;
pub(crate) use db::on_conn;
use db::{
    Columns, PageRow, columns, execute, fetch, from_row, insert_row, insert_rows, key_columns, map_row,
    page_condition, page_end, page_of, page_start,
};
pub use db::{
    Conn, ConnectError, Db, PageRows, PooledConnection, PostgresSettings, ReadConnection, ReadLimit, Schema,
    StoreError, Tenant, Tx, describe_postgres, store_now,
};
use epoch::store_epoch;
