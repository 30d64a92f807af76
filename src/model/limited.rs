//! A model that takes only so many calls at once; the others wait, in order.

use std::sync::Arc;

use futures::{StreamExt, TryStreamExt, stream};
use tokio::sync::Semaphore;

use crate::domain::chat::{ChatRequest, ModelError};

use super::{ChatModel, Parts};

pub(super) struct Limited {
    model: Arc<dyn ChatModel>,
    permits: Arc<Semaphore>,
}

impl Limited {
    /// At least one call is always let through.
    pub(super) fn new(model: Arc<dyn ChatModel>, most: usize) -> Self {
        let permits = Arc::new(Semaphore::new(most.clamp(1, Semaphore::MAX_PERMITS)));
        Self { model, permits }
    }
}

impl ChatModel for Limited {
    fn start(&self, request: ChatRequest) -> Parts {
        let (model, permits) = (Arc::clone(&self.model), Arc::clone(&self.permits));
        let begin = async move {
            let permit = permits.acquire_owned().await.map_err(|_| ModelError::Unavailable)?;
            Ok(model.start(request).inspect(move |_| {
                // The stream owns the permit: it is given back when the stream is dropped.
                let _ = &permit;
            }))
        };
        stream::once(begin).try_flatten().boxed()
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;
    use serde_json::Map;

    use super::*;
    use crate::domain::chat::Part;

    struct Instant;

    impl ChatModel for Instant {
        fn start(&self, _: ChatRequest) -> Parts {
            stream::iter([Ok(Part::Text("a".to_owned())), Ok(Part::Finished)]).boxed()
        }
    }

    #[test]
    fn a_call_over_the_limit_waits_until_an_earlier_one_is_dropped() {
        let model = Limited::new(Arc::new(Instant), 1);
        let request =
            ChatRequest { model: String::new(), messages: vec![], tools: vec![], parameters: Map::new() };
        let mut first = model.start(request.clone());
        let mut second = model.start(request);
        assert!(matches!(first.next().now_or_never(), Some(Some(Ok(_)))));
        assert!(second.next().now_or_never().is_none());

        drop(first);

        assert!(matches!(second.next().now_or_never(), Some(Some(Ok(_)))));
    }
}
