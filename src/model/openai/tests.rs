//! The real client against a scripted server.

mod server;

use std::slice;

use serde_json::json;

use server::{Action, Outcome, close, events, json_answer, respond, run, run_with, text_of};

use super::*;
use crate::domain::chat::{ChatMessage, ModelAnswer, ModelErrorDetail, ModelErrorKind, Usage};

fn call_names(answer: &ModelAnswer) -> Vec<(&str, &str)> {
    answer.calls.iter().map(|call| (call.name.as_str(), call.arguments.as_str())).collect()
}

#[tokio::test]
async fn a_plain_json_answer_is_read() {
    let answer = json_answer(&json!({
        "choices": [{"message": {"role": "assistant", "content": "Hello"}, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 9, "completion_tokens": 2, "prompt_tokens_details": {"cached_tokens": 4}},
    }));

    let outcome = run(vec![answer]).await;

    let usage = Usage { input: 9, cached: 4, output: 2, reasoning: 0 };
    assert_eq!(
        outcome.result,
        Ok(ModelAnswer { text: Some("Hello".to_owned()), usage, ..ModelAnswer::default() })
    );
    assert_eq!(outcome.requests.len(), 1);
    assert!(outcome.requests[0].starts_with("POST /v1/chat/completions HTTP/1.1\r\n"));
}

#[tokio::test]
async fn a_stream_is_read_with_its_calls_and_its_usage() {
    let delta = |delta: serde_json::Value| json!({"choices": [{"index": 0, "delta": delta}]});
    let piece = |index: u64, arguments: &str| {
        delta(json!({"tool_calls": [{"index": index, "function": {"arguments": arguments}}]}))
    };
    let begin = |index: u64, id: &str, name: &str| {
        delta(
            json!({"tool_calls": [{"index": index, "id": id, "function": {"name": name, "arguments": ""}}]}),
        )
    };

    let outcome = run(vec![
        events(&[
            delta(json!({"role": "assistant", "content": "Let me "})),
            delta(json!({"content": "see"})),
            begin(0, "a", "find"),
            piece(0, "{\"what\""),
            begin(1, "b", "pay"),
            piece(1, "{}"),
            piece(0, ":1}"),
            json!({"choices": [{"delta": {}, "finish_reason": "tool_calls"}]}),
            json!({"choices": [], "usage": {"prompt_tokens": 3, "completion_tokens": 4}}),
        ]),
        Action::Send(b"data: [DONE]\n\n".to_vec()),
    ])
    .await;

    let answer = outcome.result.unwrap();
    assert_eq!(answer.text.as_deref(), Some("Let me see"));
    assert_eq!(call_names(&answer), [("find", "{\"what\":1}"), ("pay", "{}")]);
    assert_eq!((answer.usage.input, answer.usage.output), (3, 4));
}

#[tokio::test]
async fn an_error_status_is_one_call_and_says_what_it_means() {
    let cases = [
        ("429 Too Many Requests\r\nRetry-After: 7", Some(7), "model_rate_limited"),
        ("429 Too Many Requests", None, "model_rate_limited"),
        ("500 Internal Server Error", None, "model_unavailable"),
        ("401 Unauthorized", None, "model_refused"),
        ("302 Found\r\nLocation: http://127.0.0.1:1/", None, "model_unreadable"),
    ];

    for (head, seconds, code) in cases {
        let outcome = run(vec![respond(head, "text/html", b"<h1>No</h1>")]).await;

        let error = outcome.result.unwrap_err();
        assert_eq!(error.kind.failure().as_str(), code);
        if let ModelErrorKind::RateLimited { retry_after } = error.kind {
            assert_eq!(retry_after, seconds.map(Duration::from_secs));
        }
        assert_eq!(outcome.requests.len(), 1, "{head}");
    }
}

#[tokio::test]
async fn silence_is_a_timeout_at_every_point() {
    let chunk = json!({"choices": [{"delta": {"content": "Hel"}}]});
    let head = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 99\r\n\r\n";
    let silences = [
        vec![Action::Hang],
        vec![Action::Send(head.as_bytes().to_vec()), Action::Hang],
        vec![events(&[chunk]), Action::Hang],
        vec![events(&[]), Action::Drip],
    ];

    for actions in silences {
        assert_eq!(run(actions).await.result.unwrap_err().kind, ModelErrorKind::Timeout);
    }
}

#[tokio::test]
async fn no_connection_is_unavailable() {
    let outcome = run_with("http://127.0.0.1:1/v1", None, vec![]).await;
    assert_eq!(outcome.result.unwrap_err().kind, ModelErrorKind::Unavailable);

    let outcome = run(vec![close()]).await;
    assert_eq!(outcome.result.unwrap_err().kind, ModelErrorKind::Unavailable);
}

#[tokio::test]
async fn what_cannot_be_read_is_unreadable() {
    let half_call = json!({"choices": [{"delta": {"tool_calls": [
        {"index": 0, "id": "a", "function": {"name": "pay", "arguments": "{\"amount\": 1"}}
    ]}}]});
    let half_text = json!({"choices": [{"delta": {"content": "Hel"}}]});
    let finish = |reason: &str| json!({"choices": [{"delta": {"content": "Hi"}, "finish_reason": reason}]});
    let bad: Vec<(&str, Vec<Action>)> = vec![
        ("garbage", vec![respond("200 OK", "text/plain", b"\x00\xff oops")]),
        ("not JSON", vec![respond("200 OK", "application/json", b"{\"choices\": [")]),
        ("empty", vec![respond("200 OK", "application/json", b"")]),
        ("no choices", vec![json_answer(&json!({"choices": []}))]),
        (
            "null content",
            vec![json_answer(&json!({"choices": [{"message": {"content": null},
            "finish_reason": "stop"}]}))],
        ),
        (
            "invalid UTF-8 in JSON",
            vec![respond(
                "200 OK",
                "application/json",
                b"{\"choices\":[{\"message\":{\"content\":\"\xff\"}}]}",
            )],
        ),
        (
            "invalid UTF-8 in a stream",
            vec![
                events(&[]),
                Action::Send(b"data: {\"choices\":[{\"delta\":{\"content\":\"\xff\"}}]}\n\n".to_vec()),
            ],
        ),
        (
            "garbage in a stream",
            vec![events(slice::from_ref(&half_text)), Action::Send(b"data: oops\n\n".to_vec())],
        ),
        ("cut in a call", vec![events(slice::from_ref(&half_call))]),
        ("cut before the end", vec![events(&[half_text])]),
        ("at the limit of tokens within a call", vec![events(&[half_call, finish("length")])]),
        ("aborted", vec![events(&[finish("abort")])]),
        ("a network error of the vendor", vec![events(&[finish("network_error")])]),
        ("an error of the vendor", vec![events(&[finish("error")])]),
        ("a malformed call", vec![events(&[finish("malformed_function_call")])]),
        (
            "thoughts alone",
            vec![json_answer(&json!({"choices": [{"message": {"content": "<think>Hm.", "reasoning": "Hm."},
            "finish_reason": "stop"}]}))],
        ),
    ];

    for (what, actions) in bad {
        let outcome = run(actions).await;
        assert_eq!(outcome.result.unwrap_err().kind, ModelErrorKind::Unreadable, "{what}");
        assert_eq!(outcome.requests.len(), 1, "{what}");
    }
}

#[tokio::test]
async fn a_response_without_choices_is_not_reported_as_an_empty_one() {
    let usage = json!({"choices": [], "usage": {"prompt_tokens": 3, "completion_tokens": 0}});
    let message = json!({"choices": [{"message": {"content": ""}}]});
    for (actions, expected) in [
        (vec![json_answer(&json!({"answer": "Hello"}))], "the response has no choices"),
        (vec![json_answer(&json!({"choices": []}))], "the response has no choices"),
        (vec![json_answer(&usage)], "the response has no choices"),
        (vec![json_answer(&message)], "the response is empty"),
    ] {
        let error = run(actions).await.result.unwrap_err();

        assert_eq!(error.kind, ModelErrorKind::Unreadable);
        assert_eq!(error.detail.unwrap().message.unwrap().expose(), expected);
    }
}

#[tokio::test]
async fn a_huge_answer_is_dropped_at_its_bound() {
    const MIB: usize = 1024 * 1024;
    let length = format!("200 OK\r\nContent-Length: {}", 100 * MIB);
    let head = format!("HTTP/1.1 {length}\r\nContent-Type: application/json\r\n\r\n").into_bytes();

    for begin in [Action::Send(head), events(&[])] {
        let outcome = run(vec![begin, Action::Flood(100 * MIB)]).await;

        assert_eq!(outcome.result.unwrap_err().kind, ModelErrorKind::Unreadable);
        assert!(outcome.sent < 60 * MIB, "{} bytes were taken", outcome.sent);
    }
}

#[tokio::test]
async fn other_vendors_are_forgiven() {
    let message = |message: serde_json::Value| json_answer(&json!({"choices": [{"message": message}]}));
    let stream = |deltas: &[serde_json::Value]| {
        let chunks: Vec<_> = deltas.iter().map(|delta| json!({"choices": [{"delta": delta}]})).collect();
        let end = json!({"choices": [{"delta": {}, "finish_reason": "stop"}], "usage": null});
        events(&[&chunks[..], &[end]].concat())
    };
    let call = |index: u64, id: &str, name: &str| {
        json!({"index": index, "id": id, "function": {"name": name,
        "arguments": "{}"}})
    };

    let texts = [
        message(json!({"content": "Hi"})),
        message(json!({"content": [{"type": "text", "text": "H"}, {"type": "text", "text": "i"}]})),
        message(json!({"content": null, "refusal": "Hi"})),
        respond("200 OK", "text/plain", b" {\"choices\":[{\"message\":{\"content\":\"Hi\"}}]}"),
        stream(&[json!({"content": "H", "tool_calls": null}), json!({"content": "i"})]),
    ];
    for action in texts {
        assert_eq!(text_of(&run(vec![action]).await), "Hi");
    }

    let no_ids =
        json!([{"function": {"name": "find", "arguments": {"a": 1}}}, {"function": {"name": "pay"}}]);
    let outcome = run(vec![message(json!({"content": "", "tool_calls": no_ids}))]).await;
    assert_eq!(call_names(&outcome.result.unwrap()), [("find", "{\"a\":1}"), ("pay", "")]);

    let all_zero = json!([call(0, "a", "find"), call(0, "b", "pay")]);
    let outcome = run(vec![stream(&[json!({"tool_calls": all_zero})])]).await;
    assert_eq!(call_names(&outcome.result.unwrap()), [("find", "{}"), ("pay", "{}")]);

    let no_index = [
        json!({"tool_calls": [{"id": "a", "function": {"name": "find", "arguments": "{"}}]}),
        json!({"tool_calls": [{"function": {"arguments": "}"}}]}),
        json!({"tool_calls": [{"function": {"name": "pay", "arguments": "{}"}}]}),
    ];
    let outcome = run(vec![stream(&no_index)]).await;
    assert_eq!(call_names(&outcome.result.unwrap()), [("find", "{}"), ("pay", "{}")]);

    let old = message(json!({"content": null, "function_call": {"name": "find", "arguments": "{}"}}));
    assert_eq!(call_names(&run(vec![old]).await.result.unwrap()), [("find", "{}")]);
}

#[tokio::test]
async fn a_response_without_a_reason_ends_with_done() {
    let text = json!({"choices": [{"delta": {"content": "Hi"}}]});
    let done = Action::Send(b"data: [DONE]\n\n".to_vec());

    assert_eq!(text_of(&run(vec![events(&[text]), done]).await), "Hi");
}

#[tokio::test]
async fn a_text_at_the_limit_of_tokens_is_truncated() {
    let text = json!({"choices": [{"delta": {"content": "Hi the"}, "finish_reason": "length"}]});

    let answer = run(vec![events(&[text])]).await.result.unwrap();

    assert_eq!((answer.text.as_deref(), answer.is_truncated), (Some("Hi the"), true));
}

#[tokio::test]
async fn half_an_emoji_loses_no_reply() {
    let stream = r#"data: {"choices":[{"delta":{"content":"Booked \ud83d"}}]}

data: {"choices":[{"delta":{"content":"\ude00 see you"},"finish_reason":"stop"}]}

"#;
    let outcome = run(vec![events(&[]), Action::Send(stream.as_bytes().to_vec())]).await;

    assert_eq!(text_of(&outcome), "Booked \u{fffd}\u{fffd} see you");
}

#[tokio::test]
async fn thoughts_and_fields_of_the_vendor_are_kept_apart_from_the_reply() {
    let delta = |delta: serde_json::Value| json!({"choices": [{"delta": delta}]});
    let call = json!({
        "index": 0,
        "id": "a",
        "function": {"name": "find", "arguments": "{}"},
        "extra_content": {"google": {"thought_signature": "CiQB"}},
    });
    let outcome = run(vec![events(&[
        delta(json!({"reasoning_content": "The visitor "})),
        delta(json!({"reasoning_content": "asks.", "content": "<th"})),
        delta(json!({"content": "ink>Poor.</think>Let me see"})),
        delta(json!({"tool_calls": [call]})),
        json!({"choices": [{"delta": {}, "finish_reason": "tool_calls"}]}),
    ])])
    .await;

    let answer = outcome.result.unwrap();
    assert_eq!(answer.text.as_deref(), Some("Let me see"));
    assert_eq!(answer.thoughts.as_deref(), Some("The visitor asks.Poor."));
    let vendor = answer.vendor.unwrap();
    assert_eq!(serde_json::Value::Object(vendor.message), json!({"reasoning_content": "The visitor asks."}));
    assert_eq!(
        serde_json::Value::Object(vendor.calls[0].clone()),
        json!({"extra_content": {"google": {"thought_signature": "CiQB"}}})
    );
}

#[tokio::test]
async fn a_stream_may_end_badly_once_the_model_is_finished() {
    let done = json!({"choices": [{"delta": {"content": "Hi"}, "finish_reason": "stop"}]});
    let ends = [close(), Action::Send(b"data: oops\n\n".to_vec())];

    for end in ends {
        assert_eq!(text_of(&run(vec![events(slice::from_ref(&done)), end]).await), "Hi");
    }
}

#[tokio::test]
async fn lines_of_a_stream_that_are_no_data_are_ignored() {
    let stream = "data: {\"choices\":[{\"delta\":{\"content\":\"H\"}}]}\r\n\r\n\
        : keep-alive\n\nevent: a\nevent: b\nretry: soon\nno colon\nx-trace: 7\ndata:\n\n\
        data: {\"choices\":[{\"delta\":{\"content\":\"i\"},\n\
        data: \"finish_reason\":\"stop\"}]}";
    let actions = vec![events(&[]), Action::Send(stream.as_bytes().to_vec())];

    assert_eq!(text_of(&run(actions).await), "Hi");
}

#[tokio::test]
async fn an_error_inside_a_good_answer_is_one() {
    let cases = [
        (json!({"error": {"message": "slow down", "code": 429}}), "model_rate_limited"),
        (json!({"error": {"message": "slow down", "type": "rate_limit_error"}}), "model_rate_limited"),
        (json!({"error": {"code": "502"}}), "model_unavailable"),
        (json!({"error": "overloaded"}), "model_unavailable"),
        (json!({"error": {"type": "invalid_request_error"}}), "model_refused"),
        (json!({"error": "model 'x' not found"}), "model_refused"),
        (
            json!({"object": "error", "message": "Bad", "type": "BadRequestError", "code": 400}),
            "model_refused",
        ),
        (json!({"type": "error", "error": {"type": "overloaded_error"}}), "model_unavailable"),
        (json!({"detail": "Not Found"}), "model_refused"),
        (json!({"error": {"status": "RESOURCE_EXHAUSTED", "message": "Quota"}}), "model_rate_limited"),
        (json!({"choices": [{"delta": {}, "finish_reason": "content_filter"}]}), "model_refused"),
    ];

    for (chunk, code) in cases {
        assert_eq!(run(vec![json_answer(&chunk)]).await.result.unwrap_err().kind.failure().as_str(), code);
        assert_eq!(run(vec![events(&[chunk])]).await.result.unwrap_err().kind.failure().as_str(), code);
    }
}

#[tokio::test]
async fn the_connection_of_a_finished_stream_is_used_again() {
    let stream = "data: {\"choices\":[{\"delta\":{\"content\":\"Hi\"},\"finish_reason\":\"stop\"}]}\n\n\
                  data: [DONE]\n\n";

    assert_eq!(server::count_connections_of_two_calls(stream.as_bytes()).await, 1);
}

#[tokio::test]
async fn the_key_is_sent_only_where_there_is_one() {
    let hi = || json_answer(&json!({"choices": [{"message": {"content": "Hi"}}]}));

    let Outcome { requests, .. } = run_with("", Some("sk-1"), vec![hi()]).await;
    assert!(requests[0].contains("authorization: Bearer sk-1\r\n"), "{}", requests[0]);

    let Outcome { requests, .. } = run_with("", None, vec![hi()]).await;
    assert!(!requests[0].to_lowercase().contains("authorization"), "{}", requests[0]);
}

#[test]
fn a_connection_that_cannot_work_is_refused_at_once() {
    let client = HttpClient::new(Duration::from_secs(5)).unwrap();
    let connect = |url: &str, key: Option<&str>| {
        OpenAi::new(&client, &Connection::new(url, key.map(SecretString::from))).map(|_| ())
    };

    assert!(matches!(connect("localhost:11434", None), Err(SetupError::BaseUrl)));
    assert!(matches!(connect("ftp://host/v1", None), Err(SetupError::BaseUrl)));
    assert!(matches!(connect("http://host/v1", Some("a\nb")), Err(SetupError::ApiKey)));
    assert!(connect("http://host/v1/", Some("sk-1\n")).is_ok());
    let url = join_url("http://host/deployment/?api-version=1", &["chat", "completions"]).unwrap();
    assert_eq!(url.as_str(), "http://host/deployment/chat/completions?api-version=1");
}

#[tokio::test]
async fn parts_of_a_content_that_are_no_text_are_thoughts() {
    let content = json!([
        {"type": "reasoning", "text": "Hm. "},
        {"type": "thinking", "thinking": [{"type": "text", "text": "So."}]},
        {"type": "output_text", "text": "Hel"},
        {"text": "lo"},
    ]);
    let choice = json!({"message": {"content": content}, "finish_reason": "stop"});

    let answer = run(vec![json_answer(&json!({"choices": [choice]}))]).await.result.unwrap();

    assert_eq!((answer.text.as_deref(), answer.thoughts.as_deref()), (Some("Hello"), Some("Hm. So.")));
}

#[test]
fn an_error_names_the_url_without_its_secrets() {
    let client = HttpClient::new(Duration::from_secs(1)).unwrap();
    let base_url = "http://operator:password1@127.0.0.1:1/sk-1234/v1?token=abcdefgh";
    let connection = Connection::new(base_url, Some("sk-1234".into()));
    let message = ModelErrorMessage::Foreign("sk-1234 of operator:password1 and abcdefgh".to_owned().into());
    let detail = ModelErrorDetail { message: Some(message), ..Default::default() };
    let error = ModelError { kind: ModelErrorKind::Refused, detail: Some(Box::new(detail)) };

    let detail = OpenAi::new(&client, &connection).unwrap().describe(error).detail.unwrap();

    assert_eq!(detail.url, "http://127.0.0.1:1/[key]/v1/chat/completions");
    assert_eq!(detail.message.unwrap().expose(), "[key] of [key]:[key] and [key]");
}
