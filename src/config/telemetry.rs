//! The section about traces. OpenTelemetry's SDK reads most of its standard variables itself.

use std::time::Duration;

use serde::Deserialize;

use super::value::{SettingValue, required};

/// The default of OpenTelemetry for one export.
const EXPORT_TIMEOUT: Duration = Duration::from_secs(10);

/// `[telemetry]`: what traces contain.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, expecting = "a section of settings")]
pub struct Telemetry {
    /// Whether spans have the texts of messages, arguments and results.
    #[serde(deserialize_with = "required")]
    pub capture_content: CaptureContent,
}

/// Whether content is captured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CaptureContent(pub bool);

impl SettingValue for CaptureContent {
    const EXPECTED: &'static str = "`true` or `false`";

    /// Also the values that OpenTelemetry's other libraries accept for the same variable.
    fn parse(text: &str) -> Option<Self> {
        match text.to_ascii_lowercase().as_str() {
            "true" | "span_only" | "span_and_event" => Some(Self(true)),
            "false" | "no_content" | "event_only" => Some(Self(false)),
            _ => None,
        }
    }
}

/// The protocol of the export.
const PROTOCOL: &str = "http/protobuf";

/// The standard variables that decide whether and how traces are exported.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TraceExport {
    pub timeout: Duration,
    /// A protocol that was asked for and is not supported.
    pub other_protocol: Option<String>,
}

impl TraceExport {
    /// `None` unless a variable names a collector.
    #[must_use]
    pub fn from_process() -> Option<Self> {
        Self::from_env(|name| std::env::var_os(name)?.into_string().ok())
    }

    fn from_env(env: impl Fn(&str) -> Option<String>) -> Option<Self> {
        let var =
            |name: &str| env(name).map(|value| value.trim().to_owned()).filter(|value| !value.is_empty());
        let is = |name: &str, value: &str| var(name).is_some_and(|found| found.eq_ignore_ascii_case(value));
        var("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT").or_else(|| var("OTEL_EXPORTER_OTLP_ENDPOINT"))?;
        if is("OTEL_SDK_DISABLED", "true") || is("OTEL_TRACES_EXPORTER", "none") {
            return None;
        }
        let timeout = var("OTEL_EXPORTER_OTLP_TRACES_TIMEOUT").or_else(|| var("OTEL_EXPORTER_OTLP_TIMEOUT"));
        let timeout = timeout.and_then(|milliseconds| milliseconds.parse().ok());
        let protocol =
            var("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL").or_else(|| var("OTEL_EXPORTER_OTLP_PROTOCOL"));
        Some(Self {
            timeout: timeout.map_or(EXPORT_TIMEOUT, Duration::from_millis),
            other_protocol: protocol.filter(|protocol| protocol != PROTOCOL),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_protocol_is_noticed() {
        let with = |protocol: &'static str| {
            let env = move |name: &str| match name {
                "OTEL_EXPORTER_OTLP_ENDPOINT" => Some("http://collector:4318".to_owned()),
                "OTEL_EXPORTER_OTLP_PROTOCOL" => Some(protocol.to_owned()),
                _ => None,
            };
            TraceExport::from_env(env).unwrap().other_protocol
        };
        assert_eq!((with("http/protobuf"), with("")), (None, None));
        assert_eq!(with("grpc").as_deref(), Some("grpc"));
    }

    fn export(variables: &[(&str, &str)]) -> Option<Duration> {
        let env = |name: &str| {
            variables.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned())
        };
        TraceExport::from_env(env).map(|export| export.timeout)
    }

    #[test]
    fn traces_are_exported_if_a_variable_names_a_collector() {
        const ENDPOINT: (&str, &str) = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://collector:4318");

        assert_eq!(export(&[]), None);
        assert_eq!(export(&[("OTEL_EXPORTER_OTLP_ENDPOINT", "")]), None);
        assert_eq!(export(&[ENDPOINT]), Some(EXPORT_TIMEOUT));
        assert_eq!(export(&[("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "http://x")]), Some(EXPORT_TIMEOUT));
        assert_eq!(export(&[ENDPOINT, ("OTEL_SDK_DISABLED", "true")]), None);
        assert_eq!(export(&[ENDPOINT, ("OTEL_TRACES_EXPORTER", "none")]), None);
        let timeouts = [("OTEL_EXPORTER_OTLP_TIMEOUT", "2000"), ("OTEL_EXPORTER_OTLP_TRACES_TIMEOUT", "500")];
        assert_eq!(export(&[ENDPOINT, timeouts[0]]), Some(Duration::from_secs(2)));
        assert_eq!(export(&[ENDPOINT, timeouts[0], timeouts[1]]), Some(Duration::from_millis(500)));
    }
}
