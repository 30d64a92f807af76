//! Models: one trait that makes a call and yields its parts as they arrive, and the named connections. The engine
//! retries and chooses fallbacks, not this module.

mod collect;
pub mod embeddings;
pub mod offline;
pub mod openai;
mod server;
mod surrogates;
mod thoughts;

use std::{collections::HashMap, sync::Arc};

use futures::stream::BoxStream;

use crate::domain::chat::{ChatRequest, ModelError, Part};
use crate::domain::ids::WorkspaceId;
use crate::fair_semaphore::{FairPermit, FairSemaphore, Shares};

pub use collect::{collect, collect_showing};
pub use server::ServerAddress;
pub use thoughts::ShowText;

/// The longest text of an answer, in bytes. A longer one is truncated, as if the model had reached its limit of tokens.
const MAX_TEXT: usize = 256 * 1024;

/// The name of the default connection.
pub const DEFAULT_CONNECTION: &str = "default";

/// The parts of one response. The stream ends after its first error; dropping it cancels the call.
pub type PartStream = BoxStream<'static, Result<Part, ModelError>>;

/// A chat model.
pub trait ChatModel: Send + Sync {
    /// Makes one call; nothing happens before the stream is first polled.
    fn start(&self, request: ChatRequest) -> PartStream;

    /// Names the endpoint in an error that was found outside of the stream.
    fn describe(&self, error: ModelError) -> ModelError {
        error
    }

    /// The server that is called; `None` if the model runs in this process.
    fn server(&self) -> Option<ServerAddress> {
        None
    }
}

/// The models by the name of their connection.
#[derive(Default)]
pub struct Models {
    connections: HashMap<String, ConnectedModel>,
}

/// The model of a connection and its limit of concurrent calls.
#[derive(Clone)]
pub struct ConnectedModel {
    model: Arc<dyn ChatModel>,
    permits: Option<FairSemaphore<WorkspaceId>>,
    begins_with_thoughts: bool,
}

impl ConnectedModel {
    /// Waits for a permit for one call; `None` if calls are not limited. One workspace may use all permits. The next that is free goes
    /// to the waiting workspace that uses the fewest.
    pub async fn acquire(&self, workspace: WorkspaceId) -> Option<FairPermit<WorkspaceId>> {
        match &self.permits {
            Some(permits) => Some(permits.acquire(workspace, 1).await),
            None => None,
        }
    }

    /// Makes one call; nothing happens before the stream is first polled.
    #[must_use]
    pub fn start(&self, request: ChatRequest) -> PartStream {
        self.model.start(request)
    }

    /// Names the endpoint in an error that was found outside of the stream.
    #[must_use]
    pub fn describe(&self, error: ModelError) -> ModelError {
        self.model.describe(error)
    }

    /// Whether its models begin with thoughts, without an opening tag.
    #[must_use]
    pub fn begins_with_thoughts(&self) -> bool {
        self.begins_with_thoughts
    }

    /// The server that is called; `None` if the model runs in this process.
    #[must_use]
    pub fn server(&self) -> Option<ServerAddress> {
        self.model.server()
    }
}

impl Models {
    /// Adds a connection. `max_in_flight` limits its concurrent calls; the limit is at least one.
    pub fn add(
        &mut self,
        name: impl Into<String>,
        model: Arc<dyn ChatModel>,
        max_in_flight: Option<usize>,
        begins_with_thoughts: bool,
    ) {
        let permits = max_in_flight.map(|limit| FairSemaphore::new(Shares { total: limit, per_key: limit }));
        self.connections.insert(name.into(), ConnectedModel { model, permits, begins_with_thoughts });
    }

    /// The connection with this name.
    #[must_use]
    pub fn get(&self, connection: &str) -> Option<ConnectedModel> {
        self.connections.get(connection).cloned()
    }
}
