//! The two other servers that a measurement needs.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::Context as _;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use axum::{Json, Router};
use http::{StatusCode, header};
use serde_json::{Value, json};
use tokio::net::TcpListener;

const REPLY: &str =
    "Certainly: the shop is open from nine to five, and the next free time is Tuesday at ten.";

/// Serves a model that gives one reply, as JSON or as a stream, after `delay`.
pub(crate) async fn model(listen: SocketAddr, delay: Duration) -> anyhow::Result<()> {
    let complete = async move |Json(request): Json<Value>| {
        if !delay.is_zero() {
            tokio::time::sleep(delay).await;
        }
        completion(&request)
    };
    serve(listen, Router::new().route("/v1/chat/completions", post(complete))).await
}

fn completion(request: &Value) -> Response {
    let usage = json!({ "prompt_tokens": 40, "completion_tokens": 20, "total_tokens": 60 });
    let head =
        json!({ "id": "chatcmpl-load", "created": 1_767_225_600, "model": request["model"], "usage": usage });
    if request["stream"] != true {
        let message = json!({ "role": "assistant", "content": REPLY });
        let choice = json!({ "index": 0, "message": message, "finish_reason": "stop" });
        return Json(with_choices(&head, "chat.completion", &json!([choice]))).into_response();
    }
    let chunk = |choices: Value| with_choices(&head, "chat.completion.chunk", &choices);
    let delta = json!({ "role": "assistant", "content": REPLY });
    let text = chunk(json!([{ "index": 0, "delta": delta, "finish_reason": null }]));
    let end = chunk(json!([{ "index": 0, "delta": {}, "finish_reason": "stop" }]));
    let events = format!("data: {text}\n\ndata: {end}\n\ndata: [DONE]\n\n");
    ([(header::CONTENT_TYPE, "text/event-stream")], events).into_response()
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
    Ok(axum::serve(listener, router).await?)
}
