//! HTTP/2 without TLS (`http.h2c`), on the same port as HTTP/1.

use std::sync::Arc;
use std::time::Duration;

use hyper::rt::Executor;
use hyper_util::rt::TokioTimer;
use hyper_util::server::conn::auto::Builder;
use tokio::sync::watch;
use tokio::time::Instant;

use super::serve::{MAX_HEAD, MAX_HEADERS};
use super::stalled_reader::StallDetector;
use crate::config;
use crate::lifecycle::Tasks;

const MAX_STREAMS: u32 = 64;
/// The bytes of responses that each stream has in its buffer.
const MAX_SEND_BUFFER: usize = 64 * 1024;
/// The time after which a silent connection is pinged, and the time in which it must respond.
const KEEP_ALIVE: Duration = Duration::from_secs(20);

/// Serves a connection in the version that its client speaks.
pub(super) fn builder(tasks: &Tasks, http: &config::Http, streams: OpenStreams) -> Builder<StreamExecutor> {
    let (tasks, write_timeout) = (tasks.clone(), http.write_timeout);
    let mut builder = Builder::new(StreamExecutor { tasks, write_timeout, streams });
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(http.head_timeout)
        .max_headers(MAX_HEADERS)
        .max_buf_size(MAX_HEAD);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(MAX_STREAMS)
        .max_send_buf_size(MAX_SEND_BUFFER)
        .max_header_list_size(u32::try_from(MAX_HEAD).unwrap_or(u32::MAX))
        .keep_alive_interval(KEEP_ALIVE)
        .keep_alive_timeout(KEEP_ALIVE);
    builder
}

/// Runs the streams of a connection as tracked tasks.
#[derive(Clone, Debug)]
pub(super) struct StreamExecutor {
    tasks: Tasks,
    write_timeout: Duration,
    streams: OpenStreams,
}

impl<F> Executor<F> for StreamExecutor
where
    F: Future + Send + 'static,
    F::Output: Send,
{
    fn execute(&self, stream: F) {
        let open = self.streams.begin();
        let task = async move {
            let _open = open;
            stream.await;
        };
        let detector = StallDetector::new(self.write_timeout, self.tasks.soft_stop());
        self.tasks.spawn("http stream", detector.run(task));
    }
}

/// The open streams of a connection.
#[derive(Clone, Debug, Default)]
pub(super) struct OpenStreams(Arc<watch::Sender<StreamCount>>);

#[derive(Clone, Copy, Debug, Default)]
struct StreamCount {
    open: usize,
    /// When the last stream ended; none while one is open, and before the first.
    idle_since: Option<Instant>,
}

/// A stream, until it is dropped.
#[derive(Debug)]
struct OpenStream(OpenStreams);

impl OpenStreams {
    fn begin(&self) -> OpenStream {
        self.0.send_modify(|count| *count = StreamCount { open: count.open + 1, idle_since: None });
        OpenStream(self.clone())
    }

    /// Waits until no stream was open for this long. Never ends over HTTP/1, which has a timeout of its own for the next request.
    pub(super) async fn until_idle(self, timeout: Duration) {
        let mut count = self.0.subscribe();
        loop {
            let idle_since = count.borrow_and_update().idle_since;
            let changed = count.changed();
            let is_gone = match idle_since {
                Some(since) => match tokio::time::timeout_at(since + timeout, changed).await {
                    Ok(changed) => changed.is_err(),
                    Err(_) => return,
                },
                None => changed.await.is_err(),
            };
            if is_gone {
                return std::future::pending().await;
            }
        }
    }
}

impl Drop for OpenStream {
    fn drop(&mut self) {
        self.0.0.send_modify(|count| {
            count.open = count.open.saturating_sub(1);
            count.idle_since = (count.open == 0).then(Instant::now);
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TIMEOUT: Duration = Duration::from_millis(20);

    async fn is_idle(streams: &OpenStreams, within: Duration) -> bool {
        tokio::time::timeout(within, streams.clone().until_idle(TIMEOUT)).await.is_ok()
    }

    #[tokio::test]
    async fn a_connection_is_idle_when_its_last_stream_has_ended_for_long_enough() {
        let streams = OpenStreams::default();
        assert!(!is_idle(&streams, TIMEOUT * 5).await, "there was no stream yet");

        let (first, second) = (streams.begin(), streams.begin());
        drop(first);
        assert!(!is_idle(&streams, TIMEOUT * 5).await, "one is open");
        let ended = Instant::now();
        drop(second);
        assert!(is_idle(&streams, Duration::from_secs(10)).await);
        assert!(ended.elapsed() >= TIMEOUT);
    }
}
