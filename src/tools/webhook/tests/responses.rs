//! The results for the model.

use super::*;

const JSON: &str = "content-type: application/json\r\n";
const HTML: &str = "content-type: text/html; charset=utf-8\r\n";

async fn result_of(status: &str, headers: &str, body: impl AsRef<[u8]>) -> Value {
    call(&tool("GET", &Server::answering(status, headers, body), "/"), json!({})).await
}

#[tokio::test]
async fn a_response_is_returned_as_its_json_value() {
    for (headers, body, result) in [
        (JSON, r#"{"a": [1, "b\u0000c"]}"#, json!({"a": [1, "bc"]})),
        (JSON, "[1, 2]", json!({"result": [1, 2]})),
        (JSON, "5", json!({"result": 5})),
        (JSON, "not json", json!({"result": "not json"})),
        ("content-type: application/problem+json\r\n", "null", json!({"result": null})),
        ("", " {\"a\": 1}", json!({"a": 1})),
        ("content-type: text/plain\r\n", "5", json!({"result": "5"})),
        (HTML, "<p>hi</p>", json!({"result": "<p>hi</p>"})),
        ("", "", json!({"result": ""})),
    ] {
        assert_eq!(result_of("200 OK", headers, body).await, result, "{body}");
    }
    assert_eq!(result_of("201 Created", JSON, "{}").await, json!({}));
}

#[tokio::test]
async fn invalid_utf_8_and_deeply_nested_json_are_returned_as_text() {
    let result = result_of("200 OK", "content-type: text/plain\r\n", b"a\xff\x00\xfeb").await;
    assert_eq!(result, json!({"result": "a\u{fffd}\u{fffd}b"}));

    let result = result_of("200 OK", JSON, b"{\"a\": \"\xff\"}").await;
    assert_eq!(result, json!({"result": "{\"a\": \"\u{fffd}\"}"}));

    let deep = "[".repeat(100_000);
    assert_eq!(result_of("200 OK", JSON, &deep).await, json!({ "result": deep }));
}

#[tokio::test]
async fn other_statuses_are_errors_with_details() {
    for (status, headers, body, error) in [
        (
            "404 Not Found",
            JSON,
            r#"{"detail": "no order 7"}"#,
            "The endpoint answered with status 404: {\"detail\":\"no order 7\"}",
        ),
        ("422 No", "", "id: too\0 long ", "The endpoint answered with status 422: id: too long"),
        ("400 No", HTML, "<h1>Bad</h1>", "The endpoint answered with status 400."),
        ("401 No", "", "", "The endpoint answered with status 401."),
        ("500 Oops", "", "panicked at db.rs", "The endpoint failed with status 500."),
        (
            "302 Found",
            "location: http://10.0.0.7/\r\n",
            "",
            "The endpoint answered with a redirect (status 302), which is not followed.",
        ),
    ] {
        assert_eq!(result_of(status, headers, body).await, json!({ "error": error }), "{status}");
    }
    let long = result_of("400 No", "", "é".repeat(2000)).await;
    let error = long["error"].as_str().unwrap();
    assert!(error.len() < 1100 && error.ends_with("é…"), "{error}");
}

#[tokio::test]
async fn an_echo_of_our_secrets_is_redacted() {
    let echo = r#"{"headers": {"authorization": "Bearer t0ps3cret", "sig": "whsec_x\/y"}, "t0ps3cret": 1}"#;
    for (status, headers) in [("200 OK", JSON), ("200 OK", "content-type: text/plain\r\n"), ("400 No", JSON)]
    {
        let server = Server::answering(status, headers, format!("{echo} t0ps3cret"));
        let json_server = Server::answering(status, headers, echo);
        for server in [server, json_server] {
            let mut tool = tool("GET", &server, "/");
            tool.headers =
                Headers::from([sealed("authorization", "Bearer t0ps3cret"), sealed("x-other", "whsec_x/y")]);

            let result = call(&tool, json!({})).await.to_string();

            assert!(!result.contains("t0ps3cret") && result.contains("***"), "{result}");
        }
        let tool = &mut tool("GET", &Server::answering(status, headers, echo), "/");
        tool.headers = Headers::from([sealed("x-other", "whsec_x/y")]);
        let result = call(tool, json!({})).await.to_string();
        assert!(!result.contains("whsec_x"), "{result}");
    }
}

#[tokio::test]
async fn a_long_response_is_truncated_and_marked() {
    let limit = 256 * 1024;
    let rows: Vec<String> = (0..60_000).map(|n| format!("\"é{n}\"")).collect();
    let json = format!("{{\"rows\": [{}]}}", rows.join(","));
    assert!(json.len() > limit && json.len() < 1024 * 1024);
    for (headers, body) in [(JSON, json), ("", "é\"".repeat(200_000)), ("", "\u{1}".repeat(200_000))] {
        let result = result_of("200 OK", headers, &body).await;

        let text = result["result"].as_str().unwrap();
        assert!(text.contains("[cut here: the whole answer has "), "{}", &text[text.len() - 80..]);
        assert!(result.to_string().len() <= limit && result.to_string().len() > limit - 200);
    }
    let fits = "x".repeat(limit - 200);
    assert_eq!(result_of("200 OK", "", &fits).await, json!({ "result": fits }));
}

#[tokio::test]
async fn a_response_above_one_mebibyte_is_an_error() {
    let at_limit = result_of("200 OK", "", "x".repeat(1024 * 1024)).await;
    assert!(at_limit["result"].as_str().unwrap().ends_with("[cut here: the whole answer has 1048576 bytes]"));

    let over = result_of("200 OK", "", "x".repeat(1024 * 1024 + 1)).await;
    let error =
        "The endpoint answered with status 200, but with more than 1024 KiB, which is too large to read.";
    assert_eq!(over, json!({ "error": error }));
}

#[tokio::test]
async fn after_a_timeout_the_outcome_is_unknown_except_for_get() {
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/", silent.local_addr().unwrap());
    for (method, caveat) in [("GET", ""), ("POST", " The call may or may not have taken effect.")] {
        let mut tool = tool(method, &Server::content(), "/");
        tool.url.clone_from(&url);
        let mut webhook = build_webhook(&tool);
        webhook.endpoint.timeout = Duration::from_millis(100);

        let result = call_allowing(&["127.0.0.1"], &webhook, json!({})).await;

        assert_eq!(result, json!({ "error": format!("The endpoint did not answer within 0.1 s.{caveat}") }));
    }
}

#[tokio::test]
async fn a_failed_connection_is_reported_without_the_address() {
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let mut tool = tool("POST", &Server::content(), "/");
    tool.url = format!("http://{closed}/");

    assert_eq!(
        call(&tool, json!({})).await,
        json!({"error": "No connection to the endpoint could be made."})
    );
}
