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
pub type Parts = BoxStream<'static, Result<Part, ModelError>>;

/// Something that answers a chat.
pub trait ChatModel: Send + Sync {
    /// Makes one call; nothing happens before the stream is first polled.
    fn start(&self, request: ChatRequest) -> Parts;
}

/// The models that can be called, by the name of their connection.
#[derive(Default)]
pub struct Models {
    connections: HashMap<String, Connected>,
}

/// A connection's model, and how many calls it takes at once.
#[derive(Clone)]
pub struct Connected {
    model: Arc<dyn ChatModel>,
    places: Option<Arc<Semaphore>>,
}

/// A place among a model's calls; free again when it is dropped.
#[derive(Debug)]
pub struct Place(#[expect(dead_code, reason = "held, not read")] Option<OwnedSemaphorePermit>);

impl Connected {
    /// Waits for a place for one call, in order of arrival.
    pub async fn place(&self) -> Place {
        match &self.places {
            // Nobody closes it.
            Some(places) => Place(Arc::clone(places).acquire_owned().await.ok()),
            None => Place(None),
        }
    }

    /// Makes one call; nothing happens before the stream is first polled.
    #[must_use]
    pub fn start(&self, request: ChatRequest) -> Parts {
        self.model.start(request)
    }
}

impl Models {
    /// Adds a connection. With `max_in_flight` it has so many places, at least one.
    pub fn add(&mut self, name: impl Into<String>, model: Arc<dyn ChatModel>, max_in_flight: Option<usize>) {
        let places =
            max_in_flight.map(|most| Arc::new(Semaphore::new(most.clamp(1, Semaphore::MAX_PERMITS))));
        self.connections.insert(name.into(), Connected { model, places });
    }

    /// The connection of that name.
    #[must_use]
    pub fn get(&self, connection: &str) -> Option<Connected> {
        self.connections.get(connection).cloned()
    }
}
