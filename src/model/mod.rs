//! Models: one trait that makes one call and yields its parts as they arrive, and
//! the connections under which the configuration names them. Nothing here retries
//! or chooses a fallback: the engine does.

mod collect;
mod limited;
pub mod offline;
pub mod openai;

use std::{collections::HashMap, sync::Arc};

use futures::stream::BoxStream;

use crate::domain::chat::{ChatRequest, ModelError, Part};

pub use collect::collect;
use limited::Limited;

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
    connections: HashMap<String, Arc<dyn ChatModel>>,
}

impl Models {
    /// Adds a connection. With `max_in_flight`, further calls wait for an earlier one
    /// to end.
    pub fn add(&mut self, name: impl Into<String>, model: Arc<dyn ChatModel>, max_in_flight: Option<usize>) {
        let model = match max_in_flight {
            Some(most) => Arc::new(Limited::new(model, most)),
            None => model,
        };
        self.connections.insert(name.into(), model);
    }

    pub fn get(&self, connection: &str) -> Option<Arc<dyn ChatModel>> {
        self.connections.get(connection).map(Arc::clone)
    }
}
