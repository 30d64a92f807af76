//! HTTP/2 without TLS (`http.h2c`), on the same port as HTTP/1.

use std::time::Duration;

use hyper::rt::Executor;
use hyper_util::rt::TokioTimer;
use hyper_util::server::conn::auto::Builder;

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
pub(super) fn builder(tasks: &Tasks, http: &config::Http) -> Builder<StreamExecutor> {
    let mut builder =
        Builder::new(StreamExecutor { tasks: tasks.clone(), write_timeout: http.write_timeout });
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
}

impl<F> Executor<F> for StreamExecutor
where
    F: Future + Send + 'static,
    F::Output: Send,
{
    fn execute(&self, stream: F) {
        let task = async {
            stream.await;
        };
        self.tasks.spawn("http stream", StallDetector::new(self.write_timeout).run(task));
    }
}
