//! Tools of assistants: each has a spec for the model and a call. A failed call returns an error result to the model and
//! never ends a turn.

mod caldav;
mod calendar;
mod exchange;
mod free_slots;
mod knowledge;
pub mod mcp;
mod registry;
mod schema;
mod secrets;
#[cfg(test)]
mod tests;
mod truncation;
mod webhook;

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use serde_json::{Map, Value};

use crate::domain::calendar::BookingWrite;
use crate::domain::chat::ToolSpec;
use crate::domain::clock::Clock;
use crate::domain::ids::{ConversationId, IdGenerator, WorkspaceId};
use crate::domain::seal::SealKeys;
use crate::domain::tool::{CompiledTool, ToolConfig};
use crate::domain::tool_loop::CallResult;
use crate::outbound::{AllowHosts, GuardedClient};
use crate::store::Db;

pub use caldav::{CalendarReaders, RemoveError, remove_event};
pub use exchange::{Exchange, ReceivedResponse, SentRequest};
pub use free_slots::{FreeSlotsError, find_free_slots};
pub use knowledge::{QueryEmbedder, Searcher};
pub use registry::{ToolError, Toolset};
pub use secrets::{MIN_SECRET_BYTES, Secrets, ToolSecrets};

/// A tool of a version of an assistant.
#[async_trait]
pub trait Tool: Send + Sync {
    /// Its description for the model.
    fn spec(&self) -> &ToolSpec;

    /// Whether a call that may have arrived can be repeated under the same id.
    fn is_repeatable(&self) -> bool;

    /// Makes the call. The arguments match the schema of the spec.
    async fn call(&self, call: &Call, context: &CallContext<'_>) -> ToolOutcome;

    /// Makes the same call for a person who tests the tool: an error may name a cause that the model does not see. Also
    /// returns the HTTP exchange, if the tool has one.
    async fn call_traced(&self, call: &Call, context: &CallContext<'_>) -> (ToolOutcome, Option<Exchange>) {
        (self.call(call, context).await, None)
    }
}

/// The call of a tool.
#[derive(Clone, Debug)]
pub struct Call {
    /// The same for every attempt at this call, in any process.
    pub id: String,
    pub arguments: Map<String, Value>,
}

/// The context of a call.
#[derive(Clone, Copy, Debug)]
pub struct CallContext<'a> {
    pub workspace: WorkspaceId,
    pub conversation: ConversationId,
    /// For `{{name}}`: the variables of the assistant, and others that a key set on the conversation. Never those of a
    /// visitor.
    pub variables: &'a Map<String, Value>,
    /// The private hosts that the workspace may reach.
    pub allow_hosts: &'a AllowHosts,
    pub writer: &'a dyn StoreWriter,
}

/// Writes to our own database during a call, on behalf of its turn.
#[async_trait]
pub trait StoreWriter: fmt::Debug + Send + Sync {
    /// Returns the result of the call as the writer decided it.
    async fn write(&self, write: BookingWrite) -> Result<Value, WriteError>;
}

/// The error of a write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WriteError {
    /// Another process has taken over the turn; the result is discarded.
    FencedOff,
    /// The database failed; the write may have been committed. The log has the cause.
    Store,
}

/// The outcome of a call.
#[derive(Clone, Debug)]
pub enum ToolOutcome {
    Result(CallResult),
    /// Nothing has happened yet: the writer decides this under its locks, and journals the
    /// result in the same transaction.
    Write(BookingWrite),
}

/// The clients and stores that tools use. Cheap to clone.
#[derive(Clone)]
pub struct Adapters {
    pub db: Db,
    pub searcher: Searcher,
    pub outbound: GuardedClient,
    /// `None` if the server has no key; then tools have no secrets.
    pub seal_keys: Option<Arc<SealKeys>>,
    /// Sessions of MCP servers.
    pub mcp: mcp::Sessions,
    pub clock: Arc<dyn Clock>,
    pub ids: Arc<IdGenerator>,
    pub calendar_readers: CalendarReaders,
}

impl fmt::Debug for Adapters {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Adapters").finish_non_exhaustive()
    }
}

/// Builds the tool of a configuration. The error describes the problem in the configuration.
fn build(tool: &CompiledTool, adapters: &Adapters) -> Result<Arc<dyn Tool>, String> {
    let spec = tool.spec.clone();
    Ok(match &tool.kind {
        ToolConfig::CalendarAvailability { calendar } => match &calendar.settings.caldav {
            Some(config) => Arc::new(caldav::Availability::new(spec, calendar, config, adapters)),
            None => Arc::new(calendar::Availability::new(spec, calendar, adapters)),
        },
        ToolConfig::CalendarBooking { calendar } => match &calendar.settings.caldav {
            Some(config) => Arc::new(caldav::Booking::new(spec, calendar, config, adapters)),
            None => Arc::new(calendar::Booking::new(spec, calendar, adapters)),
        },
        ToolConfig::CalendarCancel { calendar } => match &calendar.settings.caldav {
            Some(config) => Arc::new(caldav::Cancellation::new(spec, calendar.id, config, adapters)),
            None => Arc::new(calendar::Cancellation::new(spec, calendar.id)),
        },
        ToolConfig::Knowledge { knowledge_base } => {
            Arc::new(knowledge::KnowledgeSearch::new(spec, *knowledge_base, adapters))
        }
        ToolConfig::Mcp(server) => Arc::new(mcp::McpTool::new(tool, server, adapters)),
        ToolConfig::Webhook(webhook) => Arc::new(webhook::Webhook::new(tool, webhook, adapters)?),
    })
}
