//! The two other servers that a measurement needs.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::Context as _;
use axum::body::Body;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use axum::serve::ListenerExt as _;
use axum::{Json, Router};
use clap::Args;
use futures::stream::{self, StreamExt as _};
use http::{StatusCode, header};
use serde_json::{Value, json};
use tokio::net::TcpListener;

const REPLY: &str =
    "Certainly: the shop is open from nine to five, and the next free time is Tuesday at ten.";

/// How a model answers.
#[derive(Clone, Copy, Args)]
pub(crate) struct Pace {
    /// The delay of its response.
    #[arg(long, default_value_t = 0)]
    delay_ms: u64,
    /// The tokens of a streamed reply, which are sent one by one; the first is the time. By default the reply is one piece.
    #[arg(long, default_value_t = 0)]
    tokens: u32,
    /// The time between two of them.
    #[arg(long, default_value_t = 0)]
    token_ms: u64,
}

/// Serves a model that gives one reply, as JSON or as a stream.
pub(crate) async fn model(listen: SocketAddr, pace: Pace) -> anyhow::Result<()> {
    let complete = async move |Json(request): Json<Value>| {
        if pace.delay_ms > 0 {
            tokio::time::sleep(Duration::from_millis(pace.delay_ms)).await;
        }
        completion(&request, pace)
    };
    serve(listen, Router::new().route("/v1/chat/completions", post(complete))).await
}

fn completion(request: &Value, pace: Pace) -> Response {
    let usage = json!({ "prompt_tokens": 40, "completion_tokens": 20, "total_tokens": 60 });
    let head =
        json!({ "id": "chatcmpl-load", "created": 1_767_225_600, "model": request["model"], "usage": usage });
    if request["stream"] != true {
        let message = json!({ "role": "assistant", "content": REPLY });
        let choice = json!({ "index": 0, "message": message, "finish_reason": "stop" });
        return Json(with_choices(&head, "chat.completion", &json!([choice]))).into_response();
    }
    let end = chunk(&head, &json!([{ "index": 0, "delta": {}, "finish_reason": "stop" }]));
    let end = format!("data: {end}\n\ndata: [DONE]\n\n");
    let body = if pace.tokens > 0 { tokens(head, pace, end) } else { Body::from(piece(&head, REPLY) + &end) };
    ([(header::CONTENT_TYPE, "text/event-stream")], body).into_response()
}

/// The tokens of a reply one by one, then its end.
fn tokens(head: Value, pace: Pace, end: String) -> Body {
    let tokens = stream::iter(0..pace.tokens).then(move |number| {
        let head = head.clone();
        async move {
            if number == 0 {
                return Ok(piece(&head, &format!("{} ", crate::time()?.as_micros())));
            }
            tokio::time::sleep(Duration::from_millis(pace.token_ms)).await;
            anyhow::Ok(piece(&head, "token "))
        }
    });
    Body::from_stream(tokens.chain(stream::once(async move { anyhow::Ok(end) })))
}

/// The event of a piece of the reply.
fn piece(head: &Value, text: &str) -> String {
    let delta = json!({ "role": "assistant", "content": text });
    let event = chunk(head, &json!([{ "index": 0, "delta": delta, "finish_reason": null }]));
    format!("data: {event}\n\n")
}

fn chunk(head: &Value, choices: &Value) -> Value {
    with_choices(head, "chat.completion.chunk", choices)
}

fn with_choices(head: &Value, object: &str, choices: &Value) -> Value {
    let mut body = head.clone();
    body["object"] = json!(object);
    body["choices"] = choices.clone();
    body
}

struct PassThrough {
    client: reqwest::Client,
    url: String,
}

/// Serves the minimum that could answer a widget: one model call, and no storage.
pub(crate) async fn pass_through(listen: SocketAddr, model: String) -> anyhow::Result<()> {
    let state = PassThrough { client: crate::http_client()?, url: format!("{model}/chat/completions") };
    let router = Router::new().route("/api/conversations/{uuid}/messages", post(pass_on));
    serve(listen, router.with_state(std::sync::Arc::new(state))).await
}

async fn pass_on(State(state): State<std::sync::Arc<PassThrough>>, Json(request): Json<Value>) -> Response {
    let messages = json!([{ "role": "user", "content": request["message"] }]);
    let asked = json!({ "model": "load", "messages": messages }).to_string();
    let sent =
        state.client.post(&state.url).header(header::CONTENT_TYPE, "application/json").body(asked).send();
    let answered = async { sent.await?.json::<Value>().await };
    match answered.await {
        Ok(answer) => {
            let text = &answer["choices"][0]["message"]["content"];
            Json(json!({ "status": true, "message": text, "function_calls": [] })).into_response()
        }
        Err(fault) => (StatusCode::BAD_GATEWAY, fault.to_string()).into_response(),
    }
}

async fn serve(listen: SocketAddr, router: Router) -> anyhow::Result<()> {
    let listener = TcpListener::bind(listen).await.with_context(|| format!("listening on {listen}"))?;
    println!("listening on {}", listener.local_addr()?);
    // Each token is sent at once.
    let listener = listener.tap_io(|connection| {
        let _ = connection.set_nodelay(true);
    });
    Ok(axum::serve(listener, router).await?)
}
