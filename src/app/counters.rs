//! The counters of a server, created at its start.

use crate::config::Config;
use crate::domain::turn::Api;
use crate::model::DEFAULT_CONNECTION;
use crate::telemetry::{
    CHARGED_MICRODOLLARS, DELIVERIES_ENDED, HTTP_CONNECTIONS_REFUSED, HTTP_RESPONSES_REFUSED, MODEL_TOKENS,
    Metrics, PANICS, PASSAGES_EMBEDDED, REFUNDED_MICRODOLLARS, TURN_TAKEOVERS, TURNS_ENDED,
};

/// Creates each counter with all of its labels.
pub(super) fn create(metrics: &Metrics, config: &Config) {
    for name in [PANICS, TURN_TAKEOVERS, CHARGED_MICRODOLLARS, REFUNDED_MICRODOLLARS] {
        metrics.create_counter(name, &[]);
    }
    for name in [HTTP_CONNECTIONS_REFUSED, HTTP_RESPONSES_REFUSED] {
        for limit in ["address", "total"] {
            metrics.create_counter(name, &[("limit", limit.to_owned())]);
        }
    }
    for api in Api::ALL {
        for state in ["completed", "failed", "discarded"] {
            let labels = [("api", api.as_str().to_owned()), ("state", state.to_owned())];
            metrics.create_counter(TURNS_ENDED, &labels);
        }
    }
    let connections = config.connections.keys().map(String::as_str);
    for connection in std::iter::once(DEFAULT_CONNECTION).chain(connections) {
        for kind in ["input", "cached", "output", "reasoning"] {
            let labels = [("connection", connection.to_owned()), ("kind", kind.to_owned())];
            metrics.create_counter(MODEL_TOKENS, &labels);
        }
    }
    for outcome in ["ok", "refused"] {
        metrics.create_counter(PASSAGES_EMBEDDED, &[("outcome", outcome.to_owned())]);
    }
    for state in ["delivered", "failed", "closed"] {
        metrics.create_counter(DELIVERIES_ENDED, &[("state", state.to_owned())]);
    }
}
