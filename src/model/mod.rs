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
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::domain::chat::{ChatRequest, ModelError, Part};

pub use collect::collect;
pub use server::ServerAddress;

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
    permits: Option<Arc<Semaphore>>,
}

/// A permit for one call, released when it is dropped.
#[derive(Debug)]
pub struct CallPermit(#[expect(dead_code, reason = "held, not read")] Option<OwnedSemaphorePermit>);

impl ConnectedModel {
    /// Waits for a permit for one call, in order of arrival.
    pub async fn acquire(&self) -> CallPermit {
        match &self.permits {
            // The semaphore is never closed.
            Some(permits) => CallPermit(Arc::clone(permits).acquire_owned().await.ok()),
            None => CallPermit(None),
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

    /// The server that is called; `None` if the model runs in this process.
    #[must_use]
    pub fn server(&self) -> Option<ServerAddress> {
        self.model.server()
    }
}

impl Models {
    /// Adds a connection. `max_in_flight` limits its concurrent calls; the limit is at least one.
    pub fn add(&mut self, name: impl Into<String>, model: Arc<dyn ChatModel>, max_in_flight: Option<usize>) {
        let permits =
            max_in_flight.map(|limit| Arc::new(Semaphore::new(limit.clamp(1, Semaphore::MAX_PERMITS))));
        self.connections.insert(name.into(), ConnectedModel { model, permits });
    }

    /// The connection with this name.
    #[must_use]
    pub fn get(&self, connection: &str) -> Option<ConnectedModel> {
        self.connections.get(connection).cloned()
    }
}
