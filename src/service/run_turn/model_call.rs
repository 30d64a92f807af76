//! One model call: the assistant's own model, then its fallbacks in order.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::TryStreamExt as _;

use super::budget::Budget;
use super::context::Context;
use super::{Engine, LiveTurn, Progress, spans};
use crate::domain::assistant::{AssistantVersion, ModelRef};
use crate::domain::chat::{
    ChatMessage, ChatRequest, ModelAnswer, ModelError, ModelErrorDetail, ModelErrorKind, ModelErrorMessage,
    VendorFields,
};
use crate::domain::retry::backoff;
use crate::domain::token_budget::{CallTokens, estimate_input};
use crate::domain::turn::Turn;
use crate::model::{ConnectedModel, DEFAULT_CONNECTION, collect_showing};
use crate::telemetry::{MODEL_CALL_DURATION_SECONDS, MODEL_TOKENS};

/// The message of a call that was ended before its answer was complete.
const NO_ANSWER: &str = "no complete answer in time";

/// An answer and the model that gave it.
pub(super) struct ModelResponse {
    pub answer: ModelAnswer,
    pub by: ModelRef,
}

impl ModelResponse {
    fn new(mut answer: ModelAnswer, by: ModelRef) -> Self {
        if let Some(fields) = &mut answer.vendor {
            fields.source = Some(by.clone());
        }
        Self { answer, by }
    }
}

/// Why no model answered.
pub(super) enum ModelCallError {
    /// The error to report: the last one, unless an earlier one was transient.
    Failed(ModelError),
    /// All are paused, the first of them until then.
    Paused(Instant),
}

/// Calls the models of an assistant in order until one answers. Those that were too slow before may take all the time there is; a
/// model that took too long joins them if no other answers. Adds the tokens of all calls.
pub(super) async fn call_models(
    engine: &Engine,
    context: &Context,
    messages: Arc<[ChatMessage]>,
    turn: &Turn,
    live: &LiveTurn<'_>,
    budget: &mut Budget,
    progress: &mut Progress,
) -> Result<ModelResponse, ModelCallError> {
    let mut failed = None;
    let mut timed_out = Vec::new();
    let mut paused_until: Option<Instant> = None;
    // A new attempt has no more time than that.
    let had_all_time = budget.is_whole();
    let estimated_input = estimate_input(&messages, context.toolset.spec_bytes());
    let mut candidates: VecDeque<ModelRef> = candidates(engine, &context.version).into();
    while let Some(candidate) = candidates.pop_front() {
        let Some(model) = engine.models.get(&candidate.connection) else {
            tracing::error!(
                connection = candidate.connection,
                "an assistant names a connection that is not configured"
            );
            failed = Some(ModelErrorKind::Unavailable.into());
            continue;
        };
        // These waits are not counted: the attempt's budget is spent from the moment the call is sent.
        let _permit = model.acquire(turn.workspace).await;
        engine.lease.wait_until_valid().await;
        if let Some(until) = engine.rate_limit_backoff.until(&candidate) {
            paused_until = Some(paused_until.map_or(until, |earliest| earliest.min(until)));
            continue;
        }
        let request = ChatRequest {
            model: candidate.model.clone(),
            messages: without_foreign_fields(&messages, &candidate),
            tools: context.toolset.specs(),
            has_fallback: !progress.slow.contains(&candidate)
                && candidates.iter().any(|other| is_available(engine, other)),
            parameters: context.version.parameters.clone(),
        };
        let out_of_time = if had_all_time { ModelErrorKind::TooSlow } else { ModelErrorKind::Timeout };
        let under_way = model_error(out_of_time, NO_ANSWER, &candidate, &model);
        let _under_way = engine.services.model_calls.begin(turn.id, &under_way);
        let tokens = progress.call.insert(CallTokens::new(estimated_input));
        let answer = call(engine, (&candidate, &model), request, live, budget, under_way, tokens).await;
        progress.end_call(&answer);
        match answer {
            Ok(answer) => return Ok(ModelResponse::new(answer, candidate)),
            Err(error) => {
                if error.kind == ModelErrorKind::Timeout {
                    timed_out.push(candidate.clone());
                }
                pause_if_limited(engine, turn, &candidate, &error);
                // A transient error is worth another attempt, whatever the fallbacks return, unless they took all the time.
                let is_worth_more =
                    |failed: &ModelError| failed.kind.is_transient() && error.kind != ModelErrorKind::TooSlow;
                failed = failed.filter(is_worth_more).or(Some(error));
            }
        }
    }
    progress.slow.extend(timed_out);
    Err(match (failed, paused_until) {
        (Some(error), _) => ModelCallError::Failed(error),
        (None, Some(until)) => ModelCallError::Paused(until),
        (None, None) => ModelCallError::Failed(ModelErrorKind::Unavailable.into()),
    })
}

/// Pauses the calls of a model that is rate limited.
fn pause_if_limited(engine: &Engine, turn: &Turn, model: &ModelRef, error: &ModelError) {
    if let ModelErrorKind::RateLimited { retry_after } = error.kind {
        let length = backoff(turn.attempts + 1, retry_after, engine.random());
        engine.rate_limit_backoff.pause(model, Instant::now() + length);
    }
}

/// Calls one model, at most for the rest of the budget, after which the call fails as `out_of_time`.
async fn call(
    engine: &Engine,
    (by, model): (&ModelRef, &ConnectedModel),
    request: ChatRequest,
    live: &LiveTurn<'_>,
    budget: &mut Budget,
    out_of_time: ModelError,
    tokens: &mut CallTokens,
) -> Result<ModelAnswer, ModelError> {
    let span = spans::start_chat(by, model, &request);
    let stream = live.stream.as_deref();
    if let Some(stream) = stream {
        stream.start_round();
    }
    let on_text = |text: &str| {
        if let Some(stream) = stream {
            stream.add_text(text);
        }
    };
    let began = Instant::now();
    let parts = model.start(request).inspect_ok(|part| tokens.add(part));
    let collecting = collect_showing(parts, live.show(engine, by, model), on_text);
    let answer = budget.spend(span.run(collecting)).await.unwrap_or(Err(out_of_time));
    let answer = answer.map_err(|error| named(error, by, model));
    if answer.as_ref().is_err_and(|error| error.kind == ModelErrorKind::LateThoughts) {
        engine.late_thinkers.insert((live.workspace, by.clone()), Instant::now());
    }
    spans::end_chat(&span, &answer);
    record(by, &answer, began.elapsed());
    answer
}

/// An error of this side, where the endpoint has said nothing.
fn model_error(kind: ModelErrorKind, message: &str, by: &ModelRef, model: &ConnectedModel) -> ModelError {
    let message = ModelErrorMessage::Own(message.to_owned());
    let detail = ModelErrorDetail { message: Some(message), ..ModelErrorDetail::default() };
    named(ModelError { kind, detail: Some(Box::new(detail)) }, by, model)
}

/// The error with the model and its endpoint.
fn named(error: ModelError, by: &ModelRef, model: &ConnectedModel) -> ModelError {
    let has_url = error.detail.as_ref().is_some_and(|detail| !detail.url.is_empty());
    let mut error = if has_url { error } else { model.describe(error) };
    let detail = error.detail.get_or_insert_default();
    detail.connection.clone_from(&by.connection);
    detail.model.clone_from(&by.model);
    error
}

/// Whether a model can be called now.
fn is_available(engine: &Engine, model: &ModelRef) -> bool {
    engine.models.get(&model.connection).is_some() && engine.rate_limit_backoff.until(model).is_none()
}

/// The messages without the fields of vendors, but for those that this model sent.
fn without_foreign_fields(messages: &Arc<[ChatMessage]>, model: &ModelRef) -> Arc<[ChatMessage]> {
    let is_foreign = |fields: &VendorFields| fields.source.as_ref() != Some(model);
    let has_foreign = |message: &ChatMessage| matches!(message, ChatMessage::Assistant { vendor: Some(fields), .. } if is_foreign(fields));
    let mut messages = Arc::clone(messages);
    if messages.iter().any(has_foreign) {
        for message in Arc::make_mut(&mut messages) {
            if let ChatMessage::Assistant { vendor, .. } = message {
                vendor.take_if(|fields| is_foreign(fields));
            }
        }
    }
    messages
}

fn candidates(engine: &Engine, version: &AssistantVersion) -> Vec<ModelRef> {
    let model = version.model.clone().unwrap_or_else(|| engine.settings.default_model.clone());
    let own = ModelRef { connection: DEFAULT_CONNECTION.to_owned(), model };
    std::iter::once(own).chain(version.fallbacks.iter().cloned()).collect()
}

fn record(by: &ModelRef, answer: &Result<ModelAnswer, ModelError>, elapsed: Duration) {
    let outcome = match answer {
        Ok(_) => "ok",
        Err(error) => error.kind.failure().as_str(),
    };
    metrics::histogram!(MODEL_CALL_DURATION_SECONDS, "connection" => by.connection.clone(), "outcome" => outcome)
        .record(elapsed.as_secs_f64());
    if let Ok(answer) = answer {
        let usage = answer.usage;
        let kinds = [
            ("input", usage.input),
            ("cached", usage.cached),
            ("output", usage.output),
            ("reasoning", usage.reasoning),
        ];
        for (kind, tokens) in kinds {
            metrics::counter!(MODEL_TOKENS, "connection" => by.connection.clone(), "kind" => kind)
                .increment(u64::try_from(tokens).unwrap_or(0));
        }
    }
    if let Err(error) = answer {
        tracing::warn!(
            model.connection = by.connection,
            model.name = by.model,
            model.error = outcome,
            error = error as &dyn std::error::Error,
            "a model call failed"
        );
    }
}
