//! Logs, metrics and [`traces`]: their setup and the names of the metrics.
//!
//! Logs go to standard error, because standard output carries the results of commands. Labels are bounded: route
//! templates, states, codes and configured names; never a path, id or text.

pub mod traces;

use std::io::{self, IsTerminal as _};
use std::time::Duration;

use metrics::{Label, describe_counter, describe_gauge, describe_histogram};
use metrics_exporter_prometheus::{BuildError, Matcher, PrometheusBuilder, PrometheusHandle};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

/// Interval at which histograms are folded, so that they do not grow while nobody reads them.
const UPKEEP_INTERVAL: Duration = Duration::from_secs(5);

/// Buckets in seconds, from a batch of the writer to the longest turn.
const DURATION_BUCKETS: [f64; 14] =
    [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0, 30.0, 120.0];

/// Buckets in commands, up to the largest batch of the writer.
const BATCH_SIZE_BUCKETS: [f64; 9] = [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0];

/// Gauge, always 1; `version`, and `commit` if it was built in.
pub const BUILD_INFO: &str = "rejoinder_build_info";
/// Histogram, seconds; `method`, `route` (its template), `status`.
pub const HTTP_REQUEST_DURATION_SECONDS: &str = "rejoinder_http_request_duration_seconds";
/// Counter of responses with `Rejoinder-Warning`; `route`.
pub const HTTP_WARNINGS: &str = "rejoinder_http_warnings_total";
/// Gauge of open connections of clients.
pub const HTTP_CONNECTIONS: &str = "rejoinder_http_connections";
/// Counter of connections that were closed, or answered only about health; `limit` (`address`, `total`).
pub const HTTP_CONNECTIONS_REFUSED: &str = "rejoinder_http_connections_refused_total";
/// Gauge of bytes of responses above 16 KiB that clients have not read yet.
pub const HTTP_UNSENT_BYTES: &str = "rejoinder_http_unsent_bytes";
/// Counter of responses that were refused because too much was unread; `limit` (`address`, `total`).
pub const HTTP_RESPONSES_REFUSED: &str = "rejoinder_http_responses_refused_total";
/// Counter; `api`, `state` (`completed`, `failed`, `discarded`).
pub const TURNS_ENDED: &str = "rejoinder_turns_ended_total";
/// Histogram, seconds from admission to end; `api`.
pub const TURN_DURATION_SECONDS: &str = "rejoinder_turn_duration_seconds";
/// Gauge of slots in use; `api`.
pub const TURNS_RUNNING: &str = "rejoinder_turns_running";
/// Gauge of open turns of all processes, the oldest 10,000 as last counted; `state` (`waiting`, `queued`, `running`).
pub const TURNS_OPEN: &str = "rejoinder_turns_open";
/// Gauge, seconds since the admission of the oldest open turn, 0 if there is none; `state`.
pub const OLDEST_OPEN_TURN_SECONDS: &str = "rejoinder_oldest_open_turn_seconds";
/// Counter of millionths of a dollar that this process charged for turns.
pub const CHARGED_MICRODOLLARS: &str = "rejoinder_charged_microdollars_total";
/// Counter of millionths of a dollar that this process refunded for turns without a reply.
pub const REFUNDED_MICRODOLLARS: &str = "rejoinder_refunded_microdollars_total";
/// Gauge, 0 to 1: the largest part of a bound of this process that one workspace uses; `resource` (`running_turns`,
/// `widget_requests`, `event_followers`, `deliveries`).
pub const LARGEST_WORKSPACE_SHARE: &str = "rejoinder_largest_workspace_share";
/// Counter of turns that this process took over.
pub const TURN_TAKEOVERS: &str = "rejoinder_turn_takeovers_total";
/// Counter of panics, each a bug of this program.
pub const PANICS: &str = "rejoinder_panics_total";
/// Gauge of widget requests that wait for a reply.
pub const WIDGET_REQUESTS_WAITING: &str = "rejoinder_widget_requests_waiting";
/// Gauge of streams and long polls that follow the events.
pub const EVENT_FOLLOWERS: &str = "rejoinder_event_followers";
/// Histogram, seconds; `connection` (configured name), `outcome` (`ok` or an error code).
pub const MODEL_CALL_DURATION_SECONDS: &str = "rejoinder_model_call_duration_seconds";
/// Counter; `connection`, `kind` (`input`, `cached`, `output`, `reasoning`).
pub const MODEL_TOKENS: &str = "rejoinder_model_tokens_total";
/// Histogram, seconds; `purpose` (`passages`, `query`), `outcome` (`ok` or an error code).
pub const EMBEDDINGS_CALL_DURATION_SECONDS: &str = "rejoinder_embeddings_call_duration_seconds";
/// Counter of passages that were embedded, or that the model refused; `outcome` (`ok`, `refused`).
pub const PASSAGES_EMBEDDED: &str = "rejoinder_passages_embedded_total";
/// Gauge of documents with passages that are not embedded, as last counted by this process.
pub const DOCUMENTS_PENDING_EMBEDDING: &str = "rejoinder_documents_pending_embedding";
/// Histogram, seconds; `kind` (of tool), `outcome` (`ok`, `error`).
pub const TOOL_CALL_DURATION_SECONDS: &str = "rejoinder_tool_call_duration_seconds";
/// Counter; `state` (`delivered`, `failed`, `closed`).
pub const DELIVERIES_ENDED: &str = "rejoinder_deliveries_ended_total";
/// Histogram, seconds; `outcome`.
pub const DELIVERY_ATTEMPT_DURATION_SECONDS: &str = "rejoinder_delivery_attempt_duration_seconds";
/// Gauge of deliveries in flight.
pub const DELIVERIES_IN_FLIGHT: &str = "rejoinder_deliveries_in_flight";
/// Gauge, seconds by which the oldest unclaimed delivery is overdue.
pub const DELIVERY_LAG_SECONDS: &str = "rejoinder_delivery_lag_seconds";
/// Histogram of commands in one batch.
pub const WRITER_BATCH_COMMANDS: &str = "rejoinder_writer_batch_commands";
/// Histogram, seconds for one batch; `outcome` (`ok`, `error`).
pub const WRITER_BATCH_DURATION_SECONDS: &str = "rejoinder_writer_batch_duration_seconds";
/// Gauge of commands that wait in all shards.
pub const WRITER_QUEUE_LENGTH: &str = "rejoinder_writer_queue_length";
/// Gauge of open database connections; `pool` (`write`, `read`, `control`, `health`), `state` (`used`, `idle`).
pub const STORE_CONNECTIONS: &str = "rejoinder_store_connections";
/// Gauge of the connections that a pool may open; `pool`.
pub const STORE_CONNECTIONS_MAX: &str = "rejoinder_store_connections_max";
/// Gauge, 1 or 0: whether this process could read the database when it last tried, every 10 s.
pub const STORE_REACHABLE: &str = "rejoinder_store_reachable";

/// The version of this program.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");
/// The commit that this program was built from, if the build was given one.
pub const COMMIT: Option<&str> = option_env!("GIT_COMMIT");

/// Counts panics, and sends logs and panics to standard error, as JSON or text, at the levels of `filter` (the notation of
/// `RUST_LOG`).
///
/// # Errors
/// If the filter does not parse, or logs were already set up.
pub fn init_logs(json: bool, filter: &str) -> anyhow::Result<()> {
    // rmcp logs the messages of MCP servers verbatim, and they may repeat a secret. We log the relevant parts
    // ourselves.
    let filter = EnvFilter::builder().parse(filter)?.add_directive("rmcp=off".parse()?);
    let lines =
        tracing_subscriber::fmt::layer().with_writer(io::stderr).with_ansi(io::stderr().is_terminal());
    let registry = tracing_subscriber::registry().with(filter);
    if json {
        registry.with(lines.json().flatten_event(true)).try_init()?;
    } else {
        registry.with(lines.with_target(false)).try_init()?;
    }
    std::panic::set_hook(Box::new(|panic| {
        let location = panic.location().map(ToString::to_string);
        let text = panic.payload_as_str().unwrap_or("no text");
        tracing::error!(panic.location = location, "panicked: {text}");
        metrics::counter!(PANICS).increment(1);
    }));
    Ok(())
}

/// The metrics of this process.
#[derive(Debug, Clone)]
pub struct Metrics(PrometheusHandle);

impl Metrics {
    /// Installs the recorder.
    ///
    /// # Errors
    /// If a recorder is already installed.
    pub fn install() -> Result<Self, BuildError> {
        let handle = builder()?.install_recorder()?;
        describe();
        metrics::gauge!(BUILD_INFO, build_labels()).set(1.0);
        Ok(Self(handle))
    }

    /// Creates a counter with the value 0, because a rate needs a sample from before the first event.
    pub fn create_counter(&self, name: &'static str, labels: &[(&'static str, String)]) {
        metrics::counter!(name, labels).increment(0);
    }

    /// All metrics in Prometheus' text format.
    pub fn render(&self) -> String {
        self.0.render()
    }

    /// Keeps memory bounded while nobody reads the metrics; never returns.
    pub async fn run_upkeep(self) {
        let mut ticks = tokio::time::interval(UPKEEP_INTERVAL);
        loop {
            ticks.tick().await;
            self.0.run_upkeep();
        }
    }
}

fn build_labels() -> Vec<Label> {
    let commit = COMMIT.map(|commit| Label::new("commit", commit));
    std::iter::once(Label::new("version", VERSION)).chain(commit).collect()
}

fn builder() -> Result<PrometheusBuilder, BuildError> {
    PrometheusBuilder::new()
        .set_buckets(&DURATION_BUCKETS)?
        .set_buckets_for_metric(Matcher::Full(WRITER_BATCH_COMMANDS.to_owned()), &BATCH_SIZE_BUCKETS)
}

fn describe() {
    describe_gauge!(BUILD_INFO, "The version of this process; always 1.");
    describe_histogram!(HTTP_REQUEST_DURATION_SECONDS, "Time to answer a request.");
    describe_gauge!(HTTP_CONNECTIONS, "Open connections of clients.");
    describe_counter!(HTTP_WARNINGS, "Responses that name what of the request had no effect.");
    describe_counter!(HTTP_CONNECTIONS_REFUSED, "Connections beyond a limit.");
    describe_gauge!(HTTP_UNSENT_BYTES, "Bytes of large responses that clients have not read yet.");
    describe_counter!(HTTP_RESPONSES_REFUSED, "Responses beyond a limit of bytes that are unread.");
    describe_counter!(TURNS_ENDED, "Turns that have ended.");
    describe_histogram!(TURN_DURATION_SECONDS, "Time from a turn's admission to its end.");
    describe_gauge!(TURNS_RUNNING, "Turns that run in this process.");
    describe_gauge!(TURNS_OPEN, "Open turns of all processes, at most 10,000.");
    describe_gauge!(OLDEST_OPEN_TURN_SECONDS, "Time since the admission of the oldest open turn.");
    describe_counter!(CHARGED_MICRODOLLARS, "Millionths of a dollar that were charged for turns.");
    describe_counter!(REFUNDED_MICRODOLLARS, "Millionths of a dollar that were refunded.");
    describe_gauge!(LARGEST_WORKSPACE_SHARE, "The largest part of a bound that one workspace uses.");
    describe_counter!(TURN_TAKEOVERS, "Turns that this process took from one that was silent.");
    describe_counter!(PANICS, "Panics, each a bug of this program.");
    describe_gauge!(WIDGET_REQUESTS_WAITING, "Requests that wait for a reply, and streams of replies.");
    describe_gauge!(EVENT_FOLLOWERS, "Streams and long polls that follow the events.");
    describe_histogram!(MODEL_CALL_DURATION_SECONDS, "Time of a call of a model.");
    describe_counter!(MODEL_TOKENS, "Tokens that models have read and written.");
    describe_histogram!(EMBEDDINGS_CALL_DURATION_SECONDS, "Time of a call of the embeddings endpoint.");
    describe_counter!(PASSAGES_EMBEDDED, "Passages that were embedded, or cannot be.");
    describe_gauge!(DOCUMENTS_PENDING_EMBEDDING, "Documents that are not embedded whole.");
    describe_histogram!(TOOL_CALL_DURATION_SECONDS, "Time of a call of a tool.");
    describe_counter!(DELIVERIES_ENDED, "Webhook deliveries that have ended.");
    describe_histogram!(DELIVERY_ATTEMPT_DURATION_SECONDS, "Time of an attempt at a webhook delivery.");
    describe_gauge!(DELIVERIES_IN_FLIGHT, "Webhook deliveries that this process has under way.");
    describe_gauge!(DELIVERY_LAG_SECONDS, "How long the oldest due webhook delivery has waited.");
    describe_histogram!(WRITER_BATCH_COMMANDS, "Items in one batch of the writer.");
    describe_histogram!(WRITER_BATCH_DURATION_SECONDS, "Time of one batch of the writer.");
    describe_gauge!(WRITER_QUEUE_LENGTH, "Items that wait in the shards of the writer.");
    describe_gauge!(STORE_CONNECTIONS, "Open connections to the database.");
    describe_gauge!(STORE_CONNECTIONS_MAX, "Connections to the database that may be open.");
    describe_gauge!(STORE_REACHABLE, "1 if this process could read the database when it last tried.");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metrics_are_rendered_with_their_help_and_buckets() {
        let recorder = builder().unwrap().build_recorder();
        let metrics = Metrics(recorder.handle());

        metrics::with_local_recorder(&recorder, || {
            describe();
            metrics::counter!(TURNS_ENDED, "api" => "widget", "state" => "completed").increment(2);
            metrics::histogram!(WRITER_BATCH_COMMANDS).record(3.0);
            metrics::histogram!(TURN_DURATION_SECONDS, "api" => "platform").record(0.003);
        });

        let text = metrics.render();
        assert!(text.contains("# HELP rejoinder_turns_ended_total Turns that have ended."), "{text}");
        assert!(text.contains(r#"rejoinder_turns_ended_total{api="widget",state="completed"} 2"#), "{text}");
        assert!(text.contains(r#"rejoinder_writer_batch_commands_bucket{le="4"} 1"#), "{text}");
        assert!(
            text.contains(r#"rejoinder_turn_duration_seconds_bucket{api="platform",le="0.005"} 1"#),
            "{text}"
        );
    }

    #[test]
    fn a_filter_that_does_not_parse_is_an_error() {
        assert!(init_logs(true, "info,sqlx=loud").is_err());
    }
}
