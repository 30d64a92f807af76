//! The fake model answers like a real one, and fails as scripted.

use std::time::{Duration, Instant};

use http::StatusCode;
use serde_json::{Value, json};

use crate::support::fake_model::{FakeModel, ModelRequest, Reply, ToolCall};
use crate::support::http::{Http, Response, client};
use crate::support::script::Gate;
use crate::support::wait::wait_for;

fn asking(text: &str, stream: bool) -> Value {
    json!({
        "model": "fake",
        "stream": stream,
        "stream_options": { "include_usage": true },
        "messages": [{ "role": "system", "content": "Be brief." }, { "role": "user", "content": text }],
        "tools": [{ "type": "function", "function": { "name": "look_up" } }],
    })
}

async fn ask(model: &FakeModel, text: &str, stream: bool) -> Response {
    Http::new(model.base_url()).post("/chat/completions", &asking(text, stream)).send().await
}

/// The chunks of a stream; the last event must be `[DONE]`.
fn chunks(answer: &Response) -> Vec<Value> {
    let mut events: Vec<_> = answer.text().split_terminator("\n\n").collect();
    assert_eq!(events.pop(), Some("data: [DONE]"));
    events.iter().map(|event| serde_json::from_str(event.strip_prefix("data: ").unwrap()).unwrap()).collect()
}

#[tokio::test]
async fn a_text_is_answered_as_json_or_as_a_stream() {
    let model = FakeModel::start().await;
    model.script().respond_with(|request: &ModelRequest| {
        Reply::text(&format!("“{}”", request.last_text("user").unwrap()))
    });

    let whole = ask(&model, "Hi", false).await.json();
    let streamed = ask(&model, "Hi", true).await;

    assert_eq!(whole["choices"][0]["message"], json!({ "role": "assistant", "content": "“Hi”" }));
    assert_eq!(whole["choices"][0]["finish_reason"], "stop");
    assert_eq!(whole["usage"]["prompt_tokens_details"]["cached_tokens"], 100);
    assert_eq!(streamed.header("content-type"), Some("text/event-stream"));
    let chunks = chunks(&streamed);
    let text: String =
        chunks.iter().filter_map(|chunk| chunk["choices"][0]["delta"]["content"].as_str()).collect();
    assert_eq!(text, "“Hi”");
    assert_eq!(chunks.last().unwrap()["usage"]["total_tokens"], 150);
}

#[tokio::test]
async fn tool_calls_are_requested_as_json_or_as_a_stream() {
    let model = FakeModel::start().await;
    let calls = [
        ToolCall::new("look_up", &json!({ "id": 7 })),
        ToolCall::with_text("look_up", "{broken").with_id("mine"),
    ];
    model.script().queue([Reply::tool_calls(calls.clone()), Reply::tool_calls(calls)]);

    let whole = ask(&model, "Hi", false).await.json();
    let streamed = ask(&model, "Hi", true).await;

    let asked = &whole["choices"][0]["message"]["tool_calls"];
    assert_eq!(asked[0]["id"], "call_0_0");
    assert_eq!(asked[0]["function"], json!({ "name": "look_up", "arguments": "{\"id\":7}" }));
    assert_eq!(asked[1]["id"], "mine");
    let chunks = chunks(&streamed);
    let deltas =
        || chunks.iter().filter_map(|chunk| chunk["choices"][0]["delta"]["tool_calls"].as_array()).flatten();
    let arguments_of = |position: u64| -> String {
        let own = deltas().filter(|delta| delta["index"] == position);
        own.filter_map(|delta| delta["function"]["arguments"].as_str()).collect()
    };
    assert_eq!([arguments_of(0), arguments_of(1)], ["{\"id\":7}", "{broken"]);
    assert_eq!(whole["choices"][0]["finish_reason"], "tool_calls");
}

#[tokio::test]
async fn each_fault_behaves_as_its_name_says() {
    let model = FakeModel::start().await;
    model.script().queue([
        Reply::rate_limited(Some("7")),
        Reply::rate_limited(None),
        Reply::raw(StatusCode::TOO_MANY_REQUESTS, "text/html", "<h1>Slow down</h1>"),
        Reply::error(StatusCode::INTERNAL_SERVER_ERROR, "Oops"),
        Reply::garbage(),
        Reply::no_choices(),
        Reply::stopped("Half a", "length"),
        Reply::unfinished("never finished"),
    ]);

    let limited = ask(&model, "Hi", false).await;
    assert_eq!((limited.status, limited.header("retry-after")), (429, Some("7")));
    assert_eq!(limited.json()["error"]["message"], "Rate limit reached");
    assert_eq!(ask(&model, "Hi", false).await.header("retry-after"), None);
    assert_eq!(ask(&model, "Hi", false).await.text(), "<h1>Slow down</h1>");
    assert_eq!(ask(&model, "Hi", false).await.status, 500);
    serde_json::from_slice::<Value>(&ask(&model, "Hi", false).await.body).unwrap_err();
    assert_eq!(ask(&model, "Hi", false).await.json()["choices"], json!([]));
    assert_eq!(ask(&model, "Hi", false).await.json()["choices"][0]["finish_reason"], "length");
    let unfinished = ask(&model, "Hi", true).await;
    assert!(unfinished.text().starts_with("data: ") && !unfinished.text().contains("[DONE]"));
}

#[tokio::test]
async fn a_cut_answer_closes_the_connection_after_its_first_half() {
    let model = FakeModel::start().await;
    model.script().queue([Reply::cut("a long answer"), Reply::cut("a long answer")]);
    let url = format!("{}/chat/completions", model.base_url());

    for stream in [false, true] {
        let mut response = client().post(&url).body(asking("Hi", stream).to_string()).send().await.unwrap();
        let first = response.chunk().await.unwrap();
        assert!(first.is_some_and(|bytes| !bytes.is_empty()), "a part arrived");
        let fault = loop {
            match response.chunk().await {
                Ok(Some(_)) => {}
                Ok(None) => panic!("the answer ended like a complete one"),
                Err(fault) => break fault,
            }
        };
        assert!(fault.is_body() || fault.is_decode(), "{fault}");
    }
}

#[tokio::test]
async fn a_held_call_is_open_until_its_gate_opens() {
    let model = FakeModel::start().await;
    let gate = Gate::closed();
    model.script().queue([Reply::text("late").gated_by(&gate), Reply::text("late").gated_by(&gate)]);

    let asked = async { tokio::join!(ask(&model, "one", false), ask(&model, "one", true)) };
    let watched = async {
        let calls = model.calls().wait_for_count(2).await;
        assert!(calls.iter().all(|call| call.ended.is_none()), "the calls hang");
        gate.open();
    };
    tokio::join!(asked, watched);

    assert_eq!(model.calls().overlaps(|request| request.last_text("user")), [(0, 1)]);
    assert!(model.calls().all().iter().all(|call| call.ended.is_some()), "an answer that was read has ended");
}

#[tokio::test]
async fn calls_one_after_the_other_do_not_overlap() {
    let model = FakeModel::start().await;

    for stream in [false, true, false, true] {
        ask(&model, "same", stream).await;
    }

    assert_eq!(model.calls().overlaps(|request| request.last_text("user")), []);
    let first = &model.calls().all()[0].request;
    assert_eq!(
        (first.tools(), &first.headers["content-type"]),
        (vec!["look_up"], &"application/json".parse().unwrap())
    );
}

#[tokio::test]
async fn a_caller_that_hangs_up_ends_its_call() {
    let model = FakeModel::start().await;
    model.script().queue([Reply::text("never").gated_by(&Gate::closed())]);

    tokio::select! {
        _ = ask(&model, "Hi", false) => panic!("the call hangs"),
        _ = model.calls().wait_for_count(1) => {}
    }

    wait_for("the call to end", async || model.calls().all()[0].ended).await;
}

#[tokio::test]
async fn a_slow_answer_takes_its_time() {
    let model = FakeModel::start().await;
    let (delay, pace) = (Duration::from_millis(40), Duration::from_millis(10));
    model.script().queue([Reply::text("slow").after(delay), Reply::text("slow").paced(pace)]);

    let begun = Instant::now();
    ask(&model, "Hi", false).await;
    assert!(begun.elapsed() >= delay);
    let begun = Instant::now();
    ask(&model, "Hi", true).await;
    assert!(begun.elapsed() >= pace * 4, "a pause before each piece");
}

#[tokio::test]
async fn an_answer_can_run_a_callback_after_its_last_byte() {
    let model = FakeModel::start().await;
    let calls = model.calls().clone();
    let (ended_at_reply, ended) = std::sync::mpsc::channel();
    model
        .script()
        .queue([Reply::text("done").then(move || ended_at_reply.send(calls.all()[0].ended).unwrap())]);

    let answer = ask(&model, "Hi", true).await;

    assert!(answer.text().ends_with("data: [DONE]\n\n"));
    assert_eq!(ended.try_iter().collect::<Vec<_>>(), [None], "once, before the call ends");
}
