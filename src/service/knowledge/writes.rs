//! How many documents this process writes at once. Those of one base wait for its row, each with a connection of those
//! that messages are written with: so they wait for their place first, without one.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::domain::error::Error;

const AT_ONCE: usize = 2;
/// How long one waits for its place.
const PATIENCE: Duration = Duration::from_secs(10);

/// Places of those that write documents. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Writes {
    places: Arc<Semaphore>,
    patience: Duration,
}

impl Default for Writes {
    fn default() -> Self {
        Self { places: Arc::new(Semaphore::new(AT_ONCE)), patience: PATIENCE }
    }
}

impl Writes {
    /// A place, to be held until the transaction has ended; [`Error::Overloaded`] where there was none in 10 s.
    pub(super) async fn place(&self) -> Result<OwnedSemaphorePermit, Error> {
        let place = tokio::time::timeout(self.patience, Arc::clone(&self.places).acquire_owned()).await;
        let text = "Too many documents are being written";
        place.ok().and_then(Result::ok).ok_or(Error::Overloaded { text, retry_after: Duration::from_secs(5) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn whoever_finds_no_place_is_told_to_come_again() {
        let writes = Writes { patience: Duration::from_millis(20), ..Writes::default() };
        let first = writes.place().await.unwrap();
        let _second = writes.place().await.unwrap();

        let refused = writes.place().await.unwrap_err();

        assert!(matches!(refused, Error::Overloaded { .. }), "{refused}");
        drop(first);
        drop(writes.place().await.unwrap());
    }
}
