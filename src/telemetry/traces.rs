//! OpenTelemetry traces. Without [`start`] nothing is recorded, and a [`Span`] costs no more than a check.
//!
//! A span is current while its future is polled, so spans that are started below it in the same task are its children. Names and
//! attributes follow the semantic conventions of OpenTelemetry; paths, message texts, arguments and results are left out, unless
//! [`content`] is asked for.

mod exporter;

use std::borrow::Cow;
use std::sync::OnceLock;
use std::time::Duration;

use futures::future::Either;
use http::HeaderMap;
use opentelemetry::context::FutureExt as _;
use opentelemetry::propagation::TextMapPropagator as _;
use opentelemetry::trace::{
    SpanContext, SpanKind, Status, TraceContextExt as _, Tracer as _, TracerProvider as _,
};
use opentelemetry::{Context, Key, KeyValue, Value};
use opentelemetry_http::HeaderExtractor;
use opentelemetry_otlp::{SpanExporter, WithExportConfig as _, WithHttpConfig as _};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::propagation::TraceContextPropagator;
use opentelemetry_sdk::trace::{BatchConfigBuilder, BatchSpanProcessor, SdkTracer, SdkTracerProvider};
use quick_cache::sync::Cache;
use secrecy::{ExposeSecret as _, SecretString};
use uuid::Uuid;

use exporter::Collector;

/// How long the end of the process waits for the last spans.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(2);
/// How many requests are remembered until their turns start.
const MAX_REQUESTS: usize = 10_000;
/// Spans with content wait in a shorter queue, because each may have 64 KiB.
const MAX_QUEUED_WITH_CONTENT: usize = 512;
/// The longest text of one message or call in a span, in bytes.
const MAX_TEXT: usize = 8 * 1024;
/// The replacement of a secret.
const MASK: &str = "***";

static TRACES: OnceLock<Traces> = OnceLock::new();

struct Traces {
    provider: SdkTracerProvider,
    tracer: SdkTracer,
    /// The spans of the requests whose turns have not started.
    requests: Cache<Uuid, SpanContext>,
    content: Option<Secrets>,
}

/// The texts that are masked in content, longest first.
struct Secrets(Vec<SecretString>);

/// What is exported, and how. The variables of OpenTelemetry that are not here are read by its SDK.
#[derive(Debug)]
pub struct TraceSettings {
    /// For one export.
    pub timeout: Duration,
    /// With the texts of messages, arguments and results; these secrets are masked in them.
    pub content: Option<Vec<SecretString>>,
}

/// Exports spans from now on, in batches of a thread of its own. Spans that cannot be exported are dropped.
///
/// # Errors
/// If a variable of OpenTelemetry is invalid, or spans are exported already.
pub fn start(settings: TraceSettings) -> anyhow::Result<()> {
    let collector = Collector::new(settings.timeout);
    let exporter = SpanExporter::builder()
        .with_http()
        .with_http_client(collector)
        .with_timeout(settings.timeout)
        .build()?;
    let mut batches = BatchConfigBuilder::default();
    if settings.content.is_some() {
        batches = batches.with_max_queue_size(MAX_QUEUED_WITH_CONTENT);
    }
    let processor = BatchSpanProcessor::builder(exporter).with_batch_config(batches.build()).build();
    let provider =
        SdkTracerProvider::builder().with_resource(resource()).with_span_processor(processor).build();
    let traces = Traces {
        tracer: provider.tracer("rejoinder"),
        provider,
        requests: Cache::new(MAX_REQUESTS),
        content: settings.content.map(Secrets::new),
    };
    TRACES.set(traces).map_err(|_| anyhow::anyhow!("traces were already set up"))
}

/// Exports the spans that are left, for at most two seconds.
pub async fn flush() {
    let Some(traces) = TRACES.get() else { return };
    let provider = traces.provider.clone();
    let flushed = tokio::task::spawn_blocking(move || provider.shutdown_with_timeout(FLUSH_TIMEOUT));
    // A failed export was already logged.
    let _ = tokio::time::timeout(FLUSH_TIMEOUT, flushed).await;
}

/// The service is `rejoinder`, unless a variable names it.
fn resource() -> Resource {
    let resource = Resource::builder().build();
    let name = resource.get(&Key::from_static_str("service.name"));
    let is_named = name.is_some_and(|name| !name.as_str().starts_with("unknown_service"));
    let mut builder = Resource::builder().with_attribute(KeyValue::new("service.version", super::VERSION));
    if !is_named {
        builder = builder.with_service_name("rejoinder");
    }
    builder.build()
}

/// A span, which ends when this is dropped.
#[derive(Debug, Default)]
#[must_use]
pub struct Span(Option<Context>);

impl Span {
    /// A child of the current span, or the root of a trace.
    pub fn start(kind: SpanKind, describe: impl FnOnce() -> SpanDescription) -> Self {
        let Some(traces) = TRACES.get() else { return Self(None) };
        Self::build(traces, kind, describe(), &Context::current(), None)
    }

    /// The span of an incoming request, which continues the trace of the client (W3C Trace Context) if it has one.
    pub fn start_request(headers: &HeaderMap, describe: impl FnOnce() -> SpanDescription) -> Self {
        let Some(traces) = TRACES.get() else { return Self(None) };
        let parent =
            TraceContextPropagator::new().extract_with_context(&Context::new(), &HeaderExtractor(headers));
        Self::build(traces, SpanKind::Server, describe(), &parent, None)
    }

    /// The span of a turn: part of the trace of its request if that waits for it, else a trace of its own with a link to it. A
    /// request that this process does not remember is left out.
    pub fn start_turn(turn: Uuid, is_awaited: bool, describe: impl FnOnce() -> SpanDescription) -> Self {
        let Some(traces) = TRACES.get() else { return Self(None) };
        let request = traces.requests.remove(&turn).map(|(_, request)| request);
        let (parent, link) = match request {
            Some(request) if is_awaited => (Context::new().with_remote_span_context(request), None),
            request => (Context::new(), request),
        };
        Self::build(traces, SpanKind::Internal, describe(), &parent, link)
    }

    fn build(
        traces: &Traces,
        kind: SpanKind,
        description: SpanDescription,
        parent: &Context,
        link: Option<SpanContext>,
    ) -> Self {
        let SpanDescription { name, attributes } = description;
        let mut builder = traces.tracer.span_builder(name).with_kind(kind).with_attributes(attributes);
        if let Some(link) = link {
            builder = builder.with_links(vec![opentelemetry::trace::Link::with_context(link)]);
        }
        let span = traces.tracer.build_with_context(builder, parent);
        Self(Some(parent.with_span(span)))
    }

    /// Runs a future with this span as the current one.
    pub fn run<F: Future>(&self, future: F) -> impl Future<Output = F::Output> + use<F> {
        match &self.0 {
            Some(context) => Either::Left(future.with_context(context.clone())),
            None => Either::Right(future),
        }
    }

    /// Whether the span is recorded: otherwise its attributes need not be computed.
    #[must_use]
    pub fn is_recording(&self) -> bool {
        self.0.as_ref().is_some_and(|context| context.span().is_recording())
    }

    /// Sets an attribute.
    pub fn set(&self, key: &'static str, value: impl Into<Value>) {
        if let Some(context) = &self.0 {
            context.span().set_attribute(KeyValue::new(key, value));
        }
    }

    /// Marks the span as failed; the type is of low cardinality.
    pub fn fail(&self, error_type: impl Into<Cow<'static, str>>) {
        if let Some(context) = &self.0 {
            fail(context, error_type.into());
        }
    }
}

impl Drop for Span {
    fn drop(&mut self) {
        if let Some(context) = &self.0 {
            context.span().end();
        }
    }
}

/// The name and first attributes of a span.
#[derive(Debug)]
pub struct SpanDescription {
    name: Cow<'static, str>,
    attributes: Vec<KeyValue>,
}

impl SpanDescription {
    pub fn new(name: impl Into<Cow<'static, str>>) -> Self {
        Self { name: name.into(), attributes: Vec::new() }
    }

    /// Adds an attribute.
    #[must_use]
    pub fn with(mut self, key: &'static str, value: impl Into<Value>) -> Self {
        self.attributes.push(KeyValue::new(key, value));
        self
    }
}

/// Renames the current span and adds attributes.
pub fn describe_current(describe: impl FnOnce() -> SpanDescription) {
    if TRACES.get().is_some() {
        let SpanDescription { name, attributes } = describe();
        let context = Context::current();
        context.span().update_name(name);
        context.span().set_attributes(attributes);
    }
}

/// Sets an attribute of the current span.
pub fn set_current<V: Into<Value>>(key: &'static str, value: impl FnOnce() -> V) {
    if TRACES.get().is_some() {
        Context::current().span().set_attribute(KeyValue::new(key, value()));
    }
}

/// Marks the current span as failed.
pub fn fail_current(error_type: &'static str) {
    if TRACES.get().is_some() {
        fail(&Context::current(), error_type.into());
    }
}

fn fail(context: &Context, error_type: Cow<'static, str>) {
    let span = context.span();
    span.set_attribute(KeyValue::new("error.type", error_type));
    span.set_status(Status::error(""));
}

/// Remembers the current request until its turn starts in this process.
pub fn remember_request(turn: Uuid) {
    if let Some(traces) = TRACES.get() {
        let request = Context::current().span().span_context().clone();
        if request.is_valid() {
            traces.requests.insert(turn, request);
        }
    }
}

/// Content for a span, masked and of bounded length; `None` unless it was asked for.
pub fn content(text: &str) -> Option<String> {
    let secrets = TRACES.get()?.content.as_ref()?;
    Some(secrets.masked(text))
}

/// Whether spans have content.
pub fn captures_content() -> bool {
    TRACES.get().is_some_and(|traces| traces.content.is_some())
}

impl Secrets {
    fn new(mut secrets: Vec<SecretString>) -> Self {
        secrets.retain(|secret| !secret.expose_secret().is_empty());
        secrets.sort_by_key(|secret| std::cmp::Reverse(secret.expose_secret().len()));
        Self(secrets)
    }

    /// Masked before it is cut, so that no part of a secret is left.
    fn masked(&self, text: &str) -> String {
        let mut text = text.to_owned();
        for secret in &self.0 {
            if text.contains(secret.expose_secret()) {
                text = text.replace(secret.expose_secret(), MASK);
            }
        }
        if text.len() > MAX_TEXT {
            text.truncate(text.floor_char_boundary(MAX_TEXT));
            text.push('…');
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn content_is_masked_and_then_cut() {
        let secrets = Secrets::new(vec!["key".into(), "key-and-more".into(), "".into()]);

        assert_eq!(secrets.masked("a key, key-and-more"), "a ***, ***");
        let long = format!("{}key", "ä".repeat(MAX_TEXT / 2 - 1));
        let masked = secrets.masked(&long);
        assert_eq!(masked.len(), MAX_TEXT + '…'.len_utf8());
        assert!(masked.ends_with("**…"), "no part of the secret is left");
    }

    #[test]
    fn nothing_is_recorded_unless_traces_were_started() {
        let span = Span::start(SpanKind::Internal, || unreachable!());

        assert!(!span.is_recording());
        assert_eq!(content("text"), None);
        span.set("key", "value");
        span.fail("error");
        remember_request(Uuid::nil());
    }
}
