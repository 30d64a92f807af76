//! The requests that an endpoint receives, and calls that are not sent.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest as _, Sha256};

use super::*;

#[tokio::test]
async fn arguments_fill_the_url_and_other_arguments_its_query() {
    let server = Server::content();
    let mut tool = tool("GET", &server, "/of/{{customer}}/orders/{order_id}?v={v}#top");
    tool.static_fields = Map::from_iter([("source".to_owned(), json!("chat"))]);
    let arguments = json!({
        "order_id": "a b", "v": 2, "tags": ["x&y", null, "ü"], "none": null, "deep": {"a": 1}, "source": "model",
    });

    let result = call(&tool, arguments).await;

    let request = server.next_request();
    let query = "v=2&source=chat&tags=x%26y&tags=%C3%BC&deep=%7B%22a%22%3A1%7D";
    assert_eq!(result, json!({"ok": true}));
    assert!(request.line.starts_with("GET /of/c%2F7/orders/a%20b?v=2&"), "{}", request.line);
    assert_eq!(sorted(request.line.split_once('?').unwrap().1), sorted(query));
    assert_eq!((request.body.as_str(), request.header("content-type").as_str()), ("", ""));
}

#[tokio::test]
async fn a_name_in_the_query_of_the_url_cannot_be_repeated() {
    let server = Server::content();
    let mut tool = tool("GET", &server, "/orders?status=open&customer={id}&%74ags%5B%5D=a#top");
    tool.static_fields = Map::from_iter([("status".to_owned(), json!("static"))]);

    for name in ["customer", "Customer", "customer[]", "customer[0]", "tags", "tags[]"] {
        let result = call(&tool, json!({"id": "7", name: "all"})).await;
        let expected = format!(
            "The call was not sent: the argument \"{name}\" would repeat a name in the query of the tool's URL."
        );
        assert_eq!(result, json!({ "error": expected }));
    }
    server.assert_untouched();
    let result = call(&tool, json!({"id": "7&status=all", "status": "all", "page": 2})).await;

    assert_eq!(result, json!({"ok": true}));
    let request = server.next_request();
    let query = "status=open&customer=7%26status%3Dall&%74ags%5B%5D=a&page=2";
    assert!(request.line.starts_with(&format!("GET /orders?{query}")), "{}", request.line);
}

fn sorted(query: &str) -> Vec<&str> {
    let mut pairs: Vec<&str> = query.split('&').collect();
    pairs.sort_unstable();
    pairs
}

#[tokio::test]
async fn an_argument_cannot_escape_its_url_segment() {
    let server = Server::content();
    let tool = tool("GET", &server, "/orders/{id}/lines");

    for (id, line) in [
        ("../../admin", "GET /orders/..%2F..%2Fadmin/lines"),
        ("1?x=y#z", "GET /orders/1%3Fx%3Dy%23z/lines"),
        ("a\r\nhost: evil", "GET /orders/a%0D%0Ahost%3A%20evil/lines"),
        ("{{customer}}", "GET /orders/%7B%7Bcustomer%7D%7D/lines"),
        ("@evil.example/", "GET /orders/%40evil.example%2F/lines"),
    ] {
        assert_eq!(call(&tool, json!({"id": id})).await, json!({"ok": true}), "{id}");
        assert_eq!(server.next_request().line, line);
    }
    for id in [json!(".."), json!("."), json!(""), json!("%2e%2e/.."), json!(null)] {
        let result = call(&tool, json!({"id": id})).await;
        let sent = id == "%2e%2e/..";
        assert_eq!(result.get("error").is_none(), sent, "{id}: {result}");
        if sent {
            assert_eq!(server.next_request().line, "GET /orders/%252e%252e%2F../lines");
        }
    }
    server.assert_untouched();
}

#[tokio::test]
async fn static_fields_override_arguments_in_a_json_body() {
    let server = Server::content();
    let mut tool = tool("POST", &server, "/tickets/{id}");
    tool.static_fields = Map::from_iter([("source".to_owned(), json!({"kind": "chat"}))]);

    call(&tool, json!({"id": 7, "source": "forged", "text": "a\"b"})).await;

    let request = server.next_request();
    assert_eq!(request.line, "POST /tickets/7");
    assert_eq!(request.header("content-type"), "application/json");
    assert_eq!(
        serde_json::from_str::<Value>(&request.body).unwrap(),
        json!({"id": 7, "source": {"kind": "chat"}, "text": "a\"b"})
    );
}

#[tokio::test]
async fn a_body_can_be_a_form() {
    let server = Server::content();
    let mut tool = tool("PUT", &server, "/");
    tool.form = true;
    tool.static_fields = Map::from_iter([("n".to_owned(), json!(1))]);

    call(&tool, json!({"a": "x&y=z", "b": [true, 2]})).await;

    let request = server.next_request();
    assert_eq!(request.header("content-type"), "application/x-www-form-urlencoded");
    assert_eq!(request.body, "a=x%26y%3Dz&b=true&b=2&n=1");
}

#[tokio::test]
async fn arguments_cannot_change_the_structure_of_a_body_template() {
    let server = Server::content();
    let mut tool = tool("DELETE", &server, "/");
    tool.body = Some(r#"{"of": "{{customer}}", "note": "for {name}", "n": {n}, "all": {list}}"#.to_owned());
    tool.headers = Headers::from([plain("content-type", "application/vnd.api+json")]);

    call(&tool, json!({"name": "\", \"admin\": \"{{customer}}", "list": ["{n}"]})).await;

    let request = server.next_request();
    assert_eq!(
        (request.line.as_str(), request.header("content-type").as_str()),
        ("DELETE /", "application/vnd.api+json")
    );
    assert_eq!(
        serde_json::from_str::<Value>(&request.body).unwrap(),
        json!({"of": "c/7", "note": "for \", \"admin\": \"{{customer}}", "n": null, "all": ["{n}"]})
    );
}

#[tokio::test]
async fn headers_are_filled_and_decrypted_and_values_cannot_add_headers() {
    let server = Server::content();
    let mut tool = tool("GET", &server, "/");
    tool.headers = Headers::from([
        sealed("Authorization", "Bearer s3cret\n"),
        plain("x-customer", "{{customer}} {note}"),
        plain("idempotency-key", "mine"),
        plain("host", "evil.example"),
    ]);

    let result = call(&tool, json!({"note": "é"})).await;
    let request = server.next_request();
    let broken = call(&tool, json!({"note": "a\r\nx-admin: 1"})).await;

    assert_eq!(result, json!({"ok": true}));
    assert_eq!(request.header("authorization"), "Bearer s3cret");
    assert_eq!(request.header("x-customer"), "c/7 é");
    assert_eq!(request.header("idempotency-key"), CALL);
    assert_eq!(request.header("host"), server.host());
    let error = "The call was not sent: the header x-customer cannot carry a line break or another control character.";
    assert_eq!(broken, json!({ "error": error }));
    server.assert_untouched();
}

#[tokio::test]
async fn a_repeated_call_carries_the_same_key() {
    let server = Server::content();
    let tool = tool("POST", &server, "/");

    call(&tool, json!({})).await;
    call(&tool, json!({})).await;

    assert_eq!(server.next_request().header("idempotency-key"), CALL);
    assert_eq!(server.next_request().header("idempotency-key"), CALL);
}

/// HMAC-SHA256 (RFC 2104), independent of the implementation under test.
fn hmac(key: &[u8], message: &[u8]) -> String {
    let mut block = [0; 64];
    block[..key.len()].copy_from_slice(key);
    let inner = Sha256::new().chain_update(block.map(|byte| byte ^ 0x36)).chain_update(message).finalize();
    STANDARD.encode(Sha256::new().chain_update(block.map(|byte| byte ^ 0x5c)).chain_update(inner).finalize())
}

#[tokio::test]
async fn a_request_is_signed_over_the_bytes_that_are_sent() {
    let server = Server::content();
    let key = [9; 32];
    for method in ["POST", "GET"] {
        let mut tool = tool(method, &server, "/");
        tool.secret = Some(seal(SecretField::Signing, &format!("whsec_{}", STANDARD.encode(key))));

        call(&tool, json!({"a": "ü"})).await;

        let request = server.next_request();
        let signed = format!("{CALL}.{NOW}.{}", request.body);
        assert_eq!(request.header("webhook-id"), CALL);
        assert_eq!(request.header("webhook-timestamp"), NOW.to_string());
        assert_eq!(request.header("webhook-signature"), format!("v1,{}", hmac(&key, signed.as_bytes())));
    }
}

#[tokio::test]
async fn without_a_secret_nothing_is_signed() {
    let server = Server::content();

    call(&tool("POST", &server, "/"), json!({})).await;

    let request = server.next_request();
    assert_eq!(request.header("webhook-id") + &request.header("webhook-signature"), "");
}

#[tokio::test]
async fn a_call_with_an_unusable_secret_is_not_sent() {
    let server = Server::content();
    let mut with_header = tool("GET", &server, "/");
    with_header.headers = Headers::from([sealed("authorization", "Bearer s3cret")]);
    let mut with_secret = tool("GET", &server, "/");
    with_secret.secret = Some(seal(SecretField::Signing, "no signing secret"));
    let mut other_key = build_webhook(&with_header);
    other_key.seal_keys = Some(Arc::new(SealKeys::from(SealKey::new([2; 32]))));
    let mut no_key = build_webhook(&with_header);
    no_key.seal_keys = None;
    let mut other_tool = build_webhook(&with_header);
    other_tool.slug = "refunds".to_owned();
    let mut other_field = tool("GET", &server, "/");
    other_field.headers =
        with_header.headers.values().map(|text| ("x-debug".to_owned(), text.clone())).collect();

    for webhook in [other_key, no_key, other_tool, build_webhook(&other_field), build_webhook(&with_secret)] {
        let result = call_allowing(&["127.0.0.1"], &webhook, json!({})).await.to_string();

        assert!(result.starts_with(r#"{"error":"The call was not sent: "#), "{result}");
        assert!(!result.contains("s3cret") && !result.contains("no signing"), "{result}");
    }
    server.assert_untouched();
}

#[tokio::test]
async fn only_a_workspace_that_allows_a_private_host_reaches_it() {
    let server = Server::content();
    let webhook = build_webhook(&tool("GET", &server, "/"));

    let refused = call_allowing(&[], &webhook, json!({})).await;

    let error = "The call was not sent: the URL's host is not a public address.";
    assert_eq!(refused, json!({ "error": error }));
    server.assert_untouched();
    assert_eq!(call_allowing(&[&server.host()], &webhook, json!({})).await, json!({"ok": true}));
}

#[tokio::test]
async fn a_request_that_is_too_long_is_an_error() {
    let server = Server::content();
    let long = "x".repeat(1024 * 1024);

    for method in ["GET", "POST"] {
        let result = call(&tool(method, &server, "/"), json!({ "a": long })).await.to_string();
        assert!(result.contains("is longer than"), "{result}");
    }
    server.assert_untouched();
}

#[test]
fn a_call_is_repeatable_by_its_method_or_if_declared_idempotent() {
    let server = Server::content();
    for (method, repeatable) in
        [("GET", true), ("PUT", true), ("DELETE", true), ("POST", false), ("PATCH", false)]
    {
        let mut tool = tool(method, &server, "/");
        assert_eq!(build_webhook(&tool).is_repeatable(), repeatable, "{method}");
        tool.idempotent = true;
        assert!(build_webhook(&tool).is_repeatable(), "{method}");
    }
}

#[test]
fn invalid_configurations_are_refused() {
    let server = Server::content();
    let config_error = |change: &dyn Fn(&mut WebhookTool)| {
        let mut tool = tool("POST", &server, "/");
        change(&mut tool);
        Endpoint::read(&tool).map(drop).unwrap_err()
    };

    assert!(config_error(&|tool| tool.method = "HEAD".to_owned()).starts_with("method: "));
    assert!(
        config_error(&|tool| tool.headers = Headers::from([plain("a b", "")])).starts_with("headers: `a b`")
    );
    assert!(config_error(&|tool| tool.timeout = Duration::from_millis(999)).starts_with("timeout: "));
    assert!(config_error(&|tool| tool.body = Some("<id>{id}</id>".to_owned())).starts_with("body: not JSON"));
    assert!(config_error(&|tool| tool.body = Some("[{a}{b}]".to_owned())).starts_with("body: not JSON"));
    assert!(
        config_error(&|tool| (tool.body, tool.form) = (Some("{a}".to_owned()), true)).starts_with("body: ")
    );
    assert!(
        config_error(&|tool| (tool.method, tool.form) = ("GET".to_owned(), true))
            .starts_with("a GET request")
    );
    let with_static = |tool: &mut WebhookTool| {
        tool.body = Some("{a}".to_owned());
        tool.static_fields.insert("b".to_owned(), json!(1));
    };
    assert!(config_error(&with_static).starts_with("body: not together with `static`"));
}
