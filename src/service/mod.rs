//! The use cases, one file each. A handler calls one of them; they call the store,
//! the writer, models and tools. They take [`Services`], never the server's state.

pub mod accept_message;
pub mod apply_workspace;
pub mod authenticate;
pub mod await_reply;
pub mod calendars;
pub mod create_conversation;
pub mod credit;
pub mod deliver_event;
pub mod demo;
pub mod embed_documents;
pub mod follow_events;
pub mod keys;
pub mod knowledge;
pub mod list_conversations;
pub mod page;
pub mod private_file;
pub mod read_conversation;
pub mod read_events;
pub mod read_money;
pub mod read_turn;
pub mod readiness;
pub mod renew_link;
pub mod run_turn;
pub mod secret_key;
pub mod send_message;
pub mod state;
pub mod tools;
pub mod update_conversation;
pub mod webhook_endpoints;
mod workspace_hosts;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::domain::clock::Clock;
use crate::domain::ids::IdGenerator;
use crate::domain::ids::TurnId;
use crate::domain::render::RenderedResponse;
use crate::domain::seal::SealKey;
use crate::outbound::AllowHosts;
use crate::store::Db;
use crate::store::writer::Writer;
use crate::tools::Adapters;
use state::{DocumentWriteLimiter, Followers, KeyCache, TestCallLimiter, VersionCache, Waiters};

/// What the use cases need.
#[derive(Clone)]
pub struct Services {
    pub db: Db,
    pub writer: Writer,
    pub clock: Arc<dyn Clock>,
    pub ids: Arc<IdGenerator>,
    pub versions: VersionCache,
    pub waiters: Waiters,
    pub followers: Followers,
    pub key_cache: KeyCache,
    /// What tools reach the world with.
    pub tools: Adapters,
    /// Test calls of tools, and new lists of theirs, that are under way.
    pub test_call_limiter: TestCallLimiter,
    /// What reads documents of knowledge bases.
    pub document_extractor: knowledge::DocumentExtractor,
    /// How many of them are written at once.
    pub document_write_limiter: DocumentWriteLimiter,
    /// What stored secrets are sealed with; none where none is configured.
    pub seal_key: Option<Arc<SealKey>>,
    /// Private hosts that tools and webhooks of every workspace may reach.
    pub allow_hosts: Arc<AllowHosts>,
    /// Told when documents were written here: they are to be embedded.
    pub documents_changed: Arc<Notify>,
    /// `widget.deadline`: how long a widget client waits for its reply.
    pub widget_deadline: Duration,
    /// Cancelled once the process lets go of what still runs.
    pub hard_stop: CancellationToken,
}

impl fmt::Debug for Services {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Services").finish_non_exhaustive()
    }
}

/// What a message was answered with, on either door.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApiResponse {
    pub answer: RenderedResponse,
    /// For `Rejoinder-Turn`.
    pub turn: Option<TurnId>,
    /// For `Idempotent-Replayed`.
    pub is_replay: bool,
}
