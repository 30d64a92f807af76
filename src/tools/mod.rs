//! What an assistant can do besides talking: tools, each a spec for the model and
//! a call. A call that fails has a result that says so, for the model to read; it
//! never ends a turn.

mod caldav;
mod calendar;
mod exchange;
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
use crate::domain::seal::SealKey;
use crate::domain::tool_loop::CallResult;
use crate::outbound::{AllowHosts, GuardedClient};
use crate::store::Db;

pub use caldav::{RemoveError, remove_event};
pub use exchange::{Exchange, ReceivedResponse, SentRequest};
pub use knowledge::{QueryEmbedder, Searcher};
pub use registry::{ToolError, Toolset};
pub use secrets::{MIN_SECRET_BYTES, Secrets};

/// One tool of one version of an assistant.
#[async_trait]
pub trait Tool: Send + Sync {
    /// How it is offered to the model.
    fn spec(&self) -> &ToolSpec;

    /// Whether a call that may have arrived can be sent again under the same id.
    fn is_repeatable(&self) -> bool;

    /// Makes the call. Its arguments fit the schema of the spec.
    async fn call(&self, call: &Call, context: &CallContext<'_>) -> ToolOutcome;

    /// The same call, with what it was over the wire, where the tool can tell.
    async fn call_traced(&self, call: &Call, context: &CallContext<'_>) -> (ToolOutcome, Option<Exchange>) {
        (self.call(call, context).await, None)
    }
}

/// What is asked of a tool.
#[derive(Clone, Debug)]
pub struct Call {
    /// The same for every try of this call, whichever process makes it.
    pub id: String,
    pub arguments: Map<String, Value>,
}

/// In whose name a call is made.
#[derive(Clone, Copy, Debug)]
pub struct CallContext<'a> {
    pub workspace: WorkspaceId,
    pub conversation: ConversationId,
    /// For `{{name}}`: the assistant's defaults, and over them what a key's holder set
    /// on the conversation. Never what a visitor sent.
    pub variables: &'a Map<String, Value>,
    /// The private hosts that the workspace may reach.
    pub allow_hosts: &'a AllowHosts,
    pub writer: &'a dyn StoreWriter,
}

/// Writes to our own store while a call is under way, in the name of the turn that makes it.
#[async_trait]
pub trait StoreWriter: fmt::Debug + Send + Sync {
    /// What the writer decided.
    async fn write(&self, write: BookingWrite) -> Result<Value, WriteError>;
}

/// Why a call's write was not decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WriteError {
    /// The turn is not this process's any more: then the call is another's too, and whatever this one returns
    /// is dropped.
    FencedOff,
    /// The store failed; it may have been written all the same. The log says why.
    Store,
}

/// What came of a call.
#[derive(Clone, Debug)]
pub enum ToolOutcome {
    Result(CallResult),
    /// Nothing has happened yet: the writer decides this under its locks, and journals the
    /// result in the same transaction.
    Write(BookingWrite),
}

/// What tools reach the world with. Cheap to clone.
#[derive(Clone)]
pub struct Adapters {
    pub db: Db,
    pub searcher: Searcher,
    pub outbound: GuardedClient,
    /// None where the server was given none: then it holds no secret of a tool either.
    pub seal_key: Option<Arc<SealKey>>,
    /// With MCP servers.
    pub mcp: mcp::Sessions,
    pub clock: Arc<dyn Clock>,
    pub ids: Arc<IdGenerator>,
}

impl fmt::Debug for Adapters {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Adapters").finish_non_exhaustive()
    }
}
