//! The use cases, one file each. Handlers call them; they call the store, the writer, models and tools. They take
//! [`Services`], never the state of the HTTP server.

pub mod accept_message;
pub mod apply_workspace;
pub mod assistants;
pub mod audit_log;
pub mod authenticate;
pub mod await_reply;
pub mod calendars;
pub mod cancel_turn;
mod configuration;
pub mod create_conversation;
pub mod credit;
mod current_key;
pub mod deliver_event;
pub mod demo;
pub mod embed_documents;
pub mod erasures;
pub mod export_conversation;
pub mod follow_conversation;
pub mod follow_events;
pub mod follow_turn;
pub mod index_messages;
pub mod keys;
pub mod knowledge;
pub mod list_conversations;
pub mod list_turns;
pub mod manage_keys;
pub mod operator_keys;
pub mod page;
pub mod private_file;
pub mod processes;
pub mod rate_message;
pub mod read_conversation;
pub mod read_events;
pub mod read_money;
pub mod read_turn;
pub mod readiness;
pub mod reencrypt;
pub mod renew_link;
mod replay;
pub mod rerun_turn;
pub mod resources;
pub mod restore;
pub mod run_turn;
pub mod search_messages;
pub mod secret_key;
pub mod send_message;
pub mod state;
pub mod tools;
pub mod typing;
pub mod update_conversation;
pub mod usage;
pub mod visitors;
pub mod webhook_endpoints;
pub mod widget_assistant;
mod workspace_hosts;
pub mod workspaces;
mod write_error;

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::domain::api_key::{ApiKey, OperatorKey};
use crate::domain::clock::Clock;
use crate::domain::ids::{IdGenerator, TurnId};
use crate::domain::render::RenderedResponse;
use crate::domain::seal::SealKeys;
use crate::outbound::AllowHosts;
use crate::store::Db;
use crate::tools::Adapters;
use crate::writer::Writer;
use state::{
    Followers, HistoryCache, KeyCache, ModelCalls, TurnStreams, VersionCache, Waiters, WorkspaceLimiter,
};

/// The dependencies of the use cases.
#[derive(Clone)]
pub struct Services {
    pub db: Db,
    pub readiness: readiness::ReadinessCheck,
    pub writer: Writer,
    pub clock: Arc<dyn Clock>,
    pub ids: Arc<IdGenerator>,
    pub versions: VersionCache,
    pub histories: HistoryCache,
    pub waiters: Waiters,
    pub turn_streams: TurnStreams,
    pub followers: Followers,
    pub model_calls: ModelCalls,
    pub key_cache: KeyCache<ApiKey>,
    pub operator_key_cache: KeyCache<OperatorKey>,
    /// Clients and other dependencies of tools.
    pub tools: Adapters,
    /// Limits concurrent test calls of tools and refreshes of tool lists.
    pub test_call_limiter: WorkspaceLimiter,
    /// Limits concurrent requests of the API that call a CalDAV server.
    pub caldav_limiter: WorkspaceLimiter,
    /// Extracts the text of documents for knowledge bases.
    pub document_extractor: knowledge::DocumentExtractor,
    /// Limits how many documents are written at once.
    pub document_write_limiter: WorkspaceLimiter,
    /// The names of the configured model connections.
    pub model_connections: Arc<BTreeSet<String>>,
    /// Seal stored secrets; `None` if none is configured.
    pub seal_keys: Option<Arc<SealKeys>>,
    /// Private hosts that the tools and webhooks of every workspace may reach.
    pub allow_hosts: Arc<AllowHosts>,
    /// Notified when documents were written here that need to be embedded.
    pub documents_changed: Arc<Notify>,
    /// Notified when an erasure was accepted here.
    pub erasures_changed: Arc<Notify>,
    /// `widget.deadline`: how long a widget client waits for its reply.
    pub widget_deadline: Duration,
    /// `turn.deadline`: how long an attempt at a turn may take.
    pub attempt_timeout: Duration,
    /// Cancelled when the grace period of a shutdown is over.
    pub hard_stop: CancellationToken,
}

impl fmt::Debug for Services {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Services").finish_non_exhaustive()
    }
}

/// The response to a request of either API.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApiResponse {
    pub answer: RenderedResponse,
    /// For `Rejoinder-Turn`.
    pub turn: Option<TurnId>,
    /// For `Idempotent-Replayed`.
    pub is_replay: bool,
    /// For `Rejoinder-Warning`: what of the request had no effect, or of the one whose response is sent again.
    pub warning: Option<String>,
}
