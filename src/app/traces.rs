//! Starts the export of traces, if the environment names a collector.

use secrecy::SecretString;

use crate::config::{Config, TraceExport};
use crate::telemetry::traces::{self, TraceSettings};

/// Starts the export. A variable of OpenTelemetry may be meant for other programs, so an invalid one does not stop the server.
pub(super) fn start(config: &Config) {
    let Some(export) = TraceExport::from_process() else { return };
    if let Some(protocol) = &export.other_protocol {
        tracing::warn!(
            protocol,
            "traces are exported by http/protobuf, the only protocol that this server has"
        );
    }
    let content = config.telemetry.capture_content.0.then(|| secrets(config));
    if let Err(error) = traces::start(TraceSettings { timeout: export.timeout, content }) {
        tracing::warn!(error = &*error as &dyn std::error::Error, "traces are not exported");
    }
}

/// The operator's own keys. The secrets of tools are masked before a model sees a result.
fn secrets(config: &Config) -> Vec<SecretString> {
    let connections = config.connections.values().map(|connection| &connection.api_key);
    let keys = [&config.model.api_key, &config.embeddings.api_key].into_iter().chain(connections);
    keys.flatten().cloned().collect()
}
