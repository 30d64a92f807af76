//! Models: one trait that makes one call and yields its parts as they arrive, and
//! the connections under which the configuration names them. Nothing here retries
//! or chooses a fallback: the engine does.

mod collect;
pub mod embeddings;
pub mod offline;
pub mod openai;

use std::{collections::HashMap, sync::Arc};

use futures::stream::BoxStream;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::domain::chat::{ChatRequest, ModelError, Part};

pub use collect::collect;

/// The name of the connection that is used where none is named.
pub const DEFAULT_CONNECTION: &str = "default";

/// The parts of one answer. It ends after its first error; dropping it drops the call.
pub type PartStream = BoxStream<'static, Result<Part, ModelError>>;

/// Something that answers a chat.
pub trait ChatModel: Send + Sync {
    /// Makes one call; nothing happens before the stream is first polled.
    fn start(&self, request: ChatRequest) -> PartStream;
}

/// The models that can be called, by the name of their connection.
#[derive(Default)]
pub struct Models {
    connections: HashMap<String, ConnectedModel>,
}

/// A connection's model, and how many calls it takes at once.
#[derive(Clone)]
pub struct ConnectedModel {
    model: Arc<dyn ChatModel>,
    permits: Option<Arc<Semaphore>>,
}

/// A place among a model's calls; free again when it is dropped.
#[derive(Debug)]
pub struct CallPermit(#[expect(dead_code, reason = "held, not read")] Option<OwnedSemaphorePermit>);

impl ConnectedModel {
    /// Waits for a place for one call, in order of arrival.
    pub async fn acquire(&self) -> CallPermit {
        match &self.permits {
            // Nobody closes it.
            Some(permits) => CallPermit(Arc::clone(permits).acquire_owned().await.ok()),
            None => CallPermit(None),
        }
    }

    /// Makes one call; nothing happens before the stream is first polled.
    #[must_use]
    pub fn start(&self, request: ChatRequest) -> PartStream {
        self.model.start(request)
    }
}

impl Models {
    /// Adds a connection. With `max_in_flight` it has so many places, at least one.
    pub fn add(&mut self, name: impl Into<String>, model: Arc<dyn ChatModel>, max_in_flight: Option<usize>) {
        let permits =
            max_in_flight.map(|limit| Arc::new(Semaphore::new(limit.clamp(1, Semaphore::MAX_PERMITS))));
        self.connections.insert(name.into(), ConnectedModel { model, permits });
    }

    /// The connection of that name.
    #[must_use]
    pub fn get(&self, connection: &str) -> Option<ConnectedModel> {
        self.connections.get(connection).cloned()
    }
}
