//! Checks that involve several settings, or more than the syntax of one.

use std::ops::RangeInclusive;
use std::time::Duration;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::LevelFilter;

use super::Config;

/// Bounds of the retention. Consumers need time to reconnect, and timestamps must not overflow.
const RETENTION_RANGE: RangeInclusive<Duration> = Duration::from_hours(1)..=Duration::from_hours(24 * 3650);

/// The upper bound exists because a slow endpoint occupies a slot that all workspaces share.
const MAX_WEBHOOK_TIMEOUT: Duration = Duration::from_secs(30);

/// Maximum number of passages in one request. OpenAI accepts 2048 inputs and 300,000 tokens.
const MAX_EMBEDDINGS_BATCH: usize = 512;

/// An invalid setting and the reason.
type ValidationError = (&'static str, String);

impl Config {
    /// Returns the first invalid setting.
    pub(super) fn validate(&self) -> Result<(), ValidationError> {
        self.validate_counts()?;
        self.validate_durations()?;
        if self.secret_key.is_some() && self.secret_key_file.is_some() {
            return invalid("secret_key_file", "`secret_key` is set too: only one of the two may be");
        }
        if self.operator.listen.is_some_and(|own| own == self.listen && own.port() != 0) {
            return invalid("operator.listen", "expected another address than `listen`");
        }
        if self.turn.max_in_flight < 2 {
            return invalid("turn.max_in_flight", "expected 2 or more: each API needs a slot");
        }
        if !RETENTION_RANGE.contains(&self.audit.address_retention) {
            return invalid("audit.address_retention", "expected from 1h to 3650d");
        }
        if !RETENTION_RANGE.contains(&self.events.retention) {
            return invalid("events.retention", "expected from 1h to 3650d");
        }
        if self.webhooks.timeout > MAX_WEBHOOK_TIMEOUT {
            return invalid("webhooks.timeout", "expected 30s or less");
        }
        self.validate_embeddings()?;
        if let Some(name) = self.connections.keys().find(|name| !is_connection_name(name)) {
            let expected =
                "expected lower-case letters, digits, `-` and `_`, and not `default`, which is [model]";
            return invalid("connections", &format!("`{name}` is not a valid connection name: {expected}"));
        }
        if EnvFilter::builder().parse(&self.log.filter).is_err() || has_bare_target(&self.log.filter) {
            return invalid("log.filter", "expected levels such as `info` or `info,sqlx=debug`");
        }
        Ok(())
    }

    fn validate_embeddings(&self) -> Result<(), ValidationError> {
        let section = &self.embeddings;
        if section.base_url.is_some() && section.model.is_none() {
            return invalid(
                "embeddings.model",
                "`embeddings.base_url` is set, so the model to use there has to be named",
            );
        }
        if section.base_url.is_none() && (section.model.is_some() || section.api_key.is_some()) {
            let text = "`embeddings.model` or `embeddings.api_key` is set, so the endpoint has to be named";
            return invalid("embeddings.base_url", text);
        }
        if section.batch > MAX_EMBEDDINGS_BATCH {
            return invalid("embeddings.batch", "expected 512 or less");
        }
        Ok(())
    }

    fn validate_counts(&self) -> Result<(), ValidationError> {
        let zero = [
            ("store.shards", self.store.shards == 0),
            ("store.read_connections", self.store.read_connections == 0),
            ("store.statement_cache", self.store.statement_cache == 0),
            ("turn.max_rounds", self.turn.max_rounds == 0),
            ("turn.max_attempts", self.turn.max_attempts == 0),
            ("turn.max_in_flight_per_workspace", self.turn.max_in_flight_per_workspace == Some(0)),
            ("turn.max_open_per_conversation", self.turn.max_open_per_conversation == 0),
            ("turn.max_open", self.turn.max_open == 0),
            ("widget.max_waiting", self.widget.max_waiting == 0),
            ("events.max_followers", self.events.max_followers == 0),
            ("events.max_followers_per_workspace", self.events.max_followers_per_workspace == 0),
            ("model.max_in_flight", self.model.max_in_flight == Some(0)),
            ("model.max_body", self.model.max_body.0 == 0),
            ("model.history_messages", self.model.history_messages == 0),
            ("embeddings.batch", self.embeddings.batch == 0),
            ("webhooks.max_in_flight", self.webhooks.max_in_flight == 0),
            ("webhooks.max_in_flight_per_endpoint", self.webhooks.max_in_flight_per_endpoint == 0),
            ("limits.messages_per_conversation", self.limits.messages_per_conversation == 0),
            ("limits.streams_per_address", self.limits.streams_per_address == 0),
            ("limits.untouched_conversations", self.limits.untouched_conversations == 0),
            ("http.max_connections", self.http.max_connections == 0),
            ("http.max_connections_per_address", self.http.max_connections_per_address == 0),
            ("http.max_unsent", self.http.max_unsent.0 == 0),
        ];
        match zero.into_iter().find(|(_, is_zero)| *is_zero) {
            Some((setting, _)) => invalid(setting, "expected 1 or more"),
            None => Ok(()),
        }
    }

    fn validate_durations(&self) -> Result<(), ValidationError> {
        let durations = [
            ("turn.deadline", self.turn.deadline),
            ("turn.max_age", self.turn.max_age),
            ("turn.max_wait", self.turn.max_wait),
            ("turn.lease", self.turn.lease),
            ("widget.deadline", self.widget.deadline),
            ("model.connect_timeout", self.model.connect_timeout),
            ("model.first_byte_timeout", self.model.first_byte_timeout),
            ("model.idle_timeout", self.model.idle_timeout),
            ("embeddings.timeout", self.embeddings.timeout),
            ("embeddings.query_timeout", self.embeddings.query_timeout),
            ("webhooks.timeout", self.webhooks.timeout),
            ("limits.untouched_retention", self.limits.untouched_retention),
            ("http.head_timeout", self.http.head_timeout),
            ("http.body_timeout", self.http.body_timeout),
            ("http.write_timeout", self.http.write_timeout),
            ("http.idle_timeout", self.http.idle_timeout),
        ];
        match durations.into_iter().find(|(_, duration)| duration.is_zero()) {
            Some((setting, _)) => invalid(setting, "expected more than nothing"),
            None => Ok(()),
        }
    }
}

fn invalid(setting: &'static str, message: &str) -> Result<(), ValidationError> {
    Err((setting, message.to_owned()))
}

/// Whether a directive is a word without a level. A misspelled level (`warning`) would be taken for a target, and silence all others.
fn has_bare_target(filter: &str) -> bool {
    let is_bare = |directive: &str| !directive.is_empty() && !directive.contains('=');
    // The fields of a span may contain commas.
    !filter.contains('[')
        && filter
            .split(',')
            .map(str::trim)
            .any(|directive| is_bare(directive) && directive.parse::<LevelFilter>().is_err())
}

/// Whether the name can be part of an environment variable.
fn is_connection_name(name: &str) -> bool {
    let fits = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-' || c == '_';
    !name.is_empty() && name != "default" && name.chars().all(fits)
}
