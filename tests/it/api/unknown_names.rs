//! What has no effect is never silent: a misspelled name, a body or a null is refused, or named in a header where a contract lets clients
//! send more.

use rejoinder::domain::account::Scope;
use rejoinder::domain::ids::AssistantId;
use serde_json::{Value, json};

use crate::operator::Operator;
use crate::support::db::both_backends;
use crate::support::described::operations;
use crate::support::fake_model::Reply;
use crate::support::http::Response;
use crate::support::server::{ASSISTANT, TestServer, WIDGET};
use crate::support::workspaces;
use crate::v1::keys;

const WARNING: &str = "rejoinder-warning";

fn acknowledged(answer: &Response) -> (u16, Option<&str>) {
    (answer.status, answer.header(WARNING))
}

both_backends!(
    async fn every_route_without_a_body_refuses_fields(db: TestDb) {
        let server = TestServer::start(&db).await;
        let document = server.request("GET", "/openapi.json").send().await.json();
        let operator = Operator::new(&server).await;
        let (all_scopes, _) = keys::create(&server, Scope::ALL).await;
        let before = server.row_counts().await;

        let mut routes = 0;
        let writes = operations(&document).filter(|(method, ..)| method != "GET");
        for (method, path, _) in writes.filter(|(.., operation)| operation["requestBody"].is_null()) {
            let status = if path.starts_with("/api") { 422 } else { 400 };
            let path = path.replace(['{', '}'], "");
            let key = if path.starts_with("/operator/") { &operator.key } else { &all_scopes };
            let send = async |body: &str| {
                let request = server.request(&method, &path).bearer(key).body(body);
                let answer = request.header("content-type", "text/plain").send().await;
                (answer.status, answer.json()["message"].as_str().map(str::to_owned))
            };
            let unknown = "Unknown field 'reasn'. This route has none.";
            let expected = (status, Some(unknown.to_owned()));
            assert_eq!(send(r#"{"reasn": 1}"#).await, expected, "{method} {path}");
            let invalid = "Request body is not valid JSON.";
            assert_eq!(send("reason=1").await, (status, Some(invalid.to_owned())), "{method} {path}");
            for empty in ["{}", " {} ", "", "\r\n"] {
                assert_eq!(send(empty).await.0, 404, "{method} {path} {empty:?}");
            }
            routes += 1;
        }

        assert!(routes > 20, "{routes}");
        assert_eq!(server.row_counts().await, before);
    }
);

both_backends!(
    async fn only_the_widget_contract_reads_a_body_that_is_not_json_as_one_without_fields(db: TestDb) {
        let server = TestServer::start(&db).await;
        let document = server.request("GET", "/openapi.json").send().await.json();
        let before = server.row_counts().await;

        let mut strict = 0;
        let with_body = operations(&document).filter(|(.., operation)| !operation["requestBody"].is_null());
        for (method, path, _) in with_body.filter(|(_, path, _)| path.starts_with("/api/conversations")) {
            let url = path.replace("{uuid}", WIDGET).replace(['{', '}'], "");
            for (body, error) in [
                ("[null, null]", "Request body must be a JSON object."),
                ("1", "Request body must be a JSON object."),
                ("{", "Request body is not valid JSON."),
                ("turn_id=1", "Request body is not valid JSON."),
            ] {
                let answer = server.request(&method, &url).body(body).send().await;
                let missing = "The message field is required.";
                let is_contract = path.ends_with("/messages");
                let (field, text) = if is_contract { ("message", missing) } else { ("body", error) };
                let expected = json!({ "message": text, "errors": { field: [text] } });
                assert_eq!((answer.status, answer.json()), (422, expected), "{method} {path} {body}");
                strict += usize::from(!is_contract);
            }
        }

        assert!(strict >= 12, "{strict}");
        assert_eq!(server.row_counts().await, before);
        let cancel = format!("/api/conversations/{WIDGET}/cancel");
        for empty in ["", " \r\n", "{}"] {
            assert_eq!(server.request("POST", &cancel).body(empty).send().await.status, 200, "{empty:?}");
        }
    }
);

both_backends!(
    async fn null_in_an_update_is_refused_where_the_document_does_not_allow_it(db: TestDb) {
        let server = TestServer::start(&db).await;
        let document = server.request("GET", "/openapi.json").send().await.json();
        let operator = Operator::new(&server).await;

        let (mut refused, mut accepted) = (0, 0);
        for (_, path, operation) in operations(&document).filter(|(method, ..)| method == "PATCH") {
            let schema = &operation["requestBody"]["content"]["application/json"]["schema"];
            let Some(reference) = schema["$ref"].as_str() else { continue };
            // There null gives a field its default, so it is looked at together with the fields that are not in the request.
            if ["/v1/assistants/{id}", "/v1/tools/{id}"].contains(&path) {
                continue;
            }
            let schema = document.pointer(&reference[1..]).unwrap();
            let key = if path.starts_with("/operator/") { &operator.key } else { &server.keys.full };
            let path = path.replace(['{', '}'], "");
            for (field, schema) in schema["properties"].as_object().into_iter().flatten() {
                let body = json!({ field: null });
                let answer = server.request("PATCH", &path).bearer(key).json(&body).send().await;
                let alternatives = schema["anyOf"].as_array().into_iter().flatten();
                let mut types = alternatives.chain([schema]).flat_map(|one| match &one["type"] {
                    Value::Array(types) => types.clone(),
                    one => vec![one.clone()],
                });
                if types.any(|one| one == "null") {
                    assert_ne!(answer.status, 400, "{path} {field}: {}", answer.text());
                    accepted += 1;
                } else {
                    let text = format!("Field '{field}' must not be null.");
                    assert_eq!(answer.status, 400, "{path} {field}");
                    assert_eq!(answer.json()["message"], text, "{path}");
                    refused += 1;
                }
            }
        }
        assert!(refused > 5 && accepted > 5, "{refused} {accepted}");
    }
);

both_backends!(
    async fn a_field_that_is_given_twice_is_refused_except_where_a_contract_accepts_it(db: TestDb) {
        let server = TestServer::start(&db).await;
        let (key, _) = keys::create(&server, Scope::ALL).await;
        let send = async |path: &str, body: &str| {
            server.request("POST", path).bearer(&key).raw_json(body).send().await
        };
        let before = server.row_counts().await;

        for (path, body, name) in [
            ("/v1/keys", r#"{"name": "x", "scopes": ["read"], "scopes": ["erase"]}"#, "scopes"),
            ("/v1/conversations", r#"{"metadata": {"plan": [{"a": 1, "a": 1}]}}"#, "a"),
            ("/v1/assistants", r#"{"name": "A", "widget": {"title": "a", "title": "b"}}"#, "title"),
            ("/v1/tools", r#"{"kind": "mcp", "kind": "webhook"}"#, "kind"),
        ] {
            let refused = send(path, body).await;
            assert_eq!(refused.status, 400, "{path} {}", refused.text());
            assert_eq!(refused.json()["message"], format!("Field '{name}' is given twice."));
        }

        assert_eq!(server.row_counts().await, before);
        let body =
            r#"{"sender_id": "a", "sender_type": "user", "text": "a", "text": "b", "auto_reply": false}"#;
        let accepted = send("/v1/messages", body).await;
        assert_eq!((accepted.status, &accepted.json()["data"]["message"]["text"]), (200, &json!("b")));
        server.model.script().queue([Reply::text("Hello")]);
        let accepted =
            send(&format!("/api/conversations/{WIDGET}/messages"), r#"{"message": 1, "message": "b"}"#).await;
        assert_eq!(accepted.status, 200, "{}", accepted.text());
    }
);

both_backends!(
    async fn an_idempotency_key_that_a_route_does_not_support_is_named(db: TestDb) {
        let server = TestServer::start(&db).await;
        let operator = Operator::new(&server).await;
        let (key, id) = keys::create(&server, Scope::ALL).await;
        let send = async |method: &str, path: &str, body: Value| {
            let key = if path.starts_with("/operator/") { &operator.key } else { &key };
            let request = server.request(method, path).bearer(key).header("idempotency-key", "a");
            request.json(&body).send().await
        };
        let named = Some("header.Idempotency-Key");
        let key_path = format!("/v1/keys/{id}");

        let new_key = json!({ "name": "x", "scopes": ["read"] });
        let with_variable = json!({ "assistant_id": ASSISTANT });
        let workspace = json!({ "slug": "new", "name": "New" });
        for (method, path, body) in [
            ("POST", "/v1/keys", new_key.clone()),
            ("POST", "/operator/v1/workspaces", workspace),
            ("POST", "/api/conversations", with_variable),
            ("DELETE", &key_path, json!({})),
        ] {
            let answer = send(method, path, body).await;
            assert!(answer.status < 300, "{method} {path}: {}", answer.text());
            assert_eq!(answer.header(WARNING), named, "{method} {path}");
        }
        let (key, _) = keys::create(&server, Scope::ALL).await;
        let conversations = server.request("POST", "/v1/conversations").bearer(&key);
        let supported = conversations.header("idempotency-key", "a").json(&json!({})).send().await;
        assert_eq!((supported.status, supported.header(WARNING)), (200, None));
        let base =
            server.request("POST", "/v1/knowledge_bases").bearer(&key).json(&json!({ "slug": "help" }));
        let base = base.send().await.json()["data"]["id"].as_str().unwrap().to_owned();
        let search = format!("/v1/knowledge_bases/{base}/search");
        let search = server.request("POST", &search).bearer(&key).header("idempotency-key", "a");
        let search = search.json(&json!({ "query": "chairs" })).send().await;
        assert_eq!((search.status, search.header(WARNING)), (200, None), "a search changes nothing");
        let read = server.request("GET", "/v1/me").bearer(&key).header("idempotency-key", "a").send().await;
        assert_eq!((read.status, read.header(WARNING)), (200, None));
        let refused = server.request("POST", "/v1/keys").bearer(&key).header("idempotency-key", "a");
        let refused = refused.json(&json!({})).send().await;
        assert_eq!((refused.status, refused.header(WARNING)), (400, None));
    }
);

both_backends!(
    async fn every_strict_route_refuses_a_query_parameter_that_it_does_not_have(db: TestDb) {
        let server = TestServer::start(&db).await;
        let document = server.request("GET", "/openapi.json").send().await.json();
        let operator = Operator::new(&server).await;
        let (all_scopes, _) = keys::create(&server, Scope::ALL).await;
        let before = server.row_counts().await;

        let mut routes = 0;
        for (method, path, _) in operations(&document) {
            let tolerant = ["/api/conversations/{uuid}/messages", "/v1/messages", "/api/chat"];
            if method == "POST" && tolerant.contains(&path) {
                continue;
            }
            let path = path.replace("{uuid}", WIDGET).replace(['{', '}'], "");
            let request = server.request(&method, &format!("{path}?limt=1"));
            let is_operators = path.starts_with("/operator/");
            let key = if is_operators { &operator.key } else { &all_scopes };
            let refused = request.bearer(key).send().await;
            let status = if path.starts_with("/api") { 422 } else { 400 };
            assert_eq!(refused.status, status, "{method} {path}: {}", refused.text());
            let text = refused.json()["message"].to_string();
            assert!(text.contains("Unknown query parameter 'limt'. "), "{method} {path}: {text}");
            assert_eq!(refused.header("rejoinder-error"), Some("invalid_request"));
            routes += 1;
        }

        assert!(routes > 40, "{routes}");
        assert_eq!(server.row_counts().await, before);
        let known = server.get("/v1/ledger?limt=1").await.json();
        let text = "Unknown query parameter 'limt'. Known parameters: 'limit', 'cursor'.";
        assert_eq!(known["message"], text);
        let none = server.get("/v1/balance?a=1").await.json();
        assert_eq!(none["message"], "Unknown query parameter 'a'. This route has none.");
        let long = server.get(&format!("/v1/balance?{}=1", "%C3%B6".repeat(1_000))).await.json();
        let cut = "%C3%B6".repeat(32);
        assert_eq!(long["message"], format!("Unknown query parameter '{cut}'. This route has none."));
        let head = server.request("HEAD", "/v1/balance?a=1").bearer(&server.keys.full).send().await;
        assert_eq!(head.status, 400);
        let no_key = server.request("GET", "/v1/balance?a=1").send().await;
        assert_eq!(no_key.status, 401, "the key is checked first");
    }
);

both_backends!(
    async fn a_new_conversation_refuses_unknown_fields_even_if_they_are_null(db: TestDb) {
        let server = TestServer::start(&db).await;
        let before = server.row_counts().await;
        let body = json!({ "assistant_id": ASSISTANT, "varables": null });

        let widget = server.request("POST", "/api/conversations").json(&body).send().await;
        let platform =
            server.request("POST", "/v1/conversations").bearer(&server.keys.full).json(&body).send().await;
        let cancel = format!("/api/conversations/{WIDGET}/cancel");
        let cancel = server.request("POST", &cancel).json(&json!({ "turn": "trn_1" })).send().await;

        let text =
            "Unknown field 'varables'. Known fields: 'assistant_id', 'type', 'variables', 'identity_token'.";
        let expected = json!({ "message": text, "errors": { "body": [text] } });
        assert_eq!((widget.status, widget.json()), (422, expected));
        let mut long = json!({ "assistant_id": ASSISTANT });
        long["x".repeat(10_000)] = json!(1);
        let long = server.request("POST", "/api/conversations").json(&long).send().await;
        let text = format!("Unknown field '{}'. Known fields: ", "x".repeat(64));
        assert!(long.json()["message"].to_string().contains(&text), "{}", long.text().len());
        let text = platform.json()["message"].to_string();
        assert!(platform.status == 400 && text.contains("Unknown field 'varables'."), "{text}");
        let text = cancel.json()["message"].to_string();
        assert!(
            cancel.status == 422 && text.contains("Unknown field 'turn'. Known fields: 'turn_id'."),
            "{text}"
        );
        assert_eq!(server.row_counts().await, before);
    }
);

both_backends!(
    async fn a_widget_message_names_what_has_no_effect_also_in_errors_streams_and_replays(db: TestDb) {
        let server = TestServer::start(&db).await;
        let path = |query: &str| format!("/api/conversations/{WIDGET}/messages{query}");
        let send = |query: &str, body: &str| server.request("POST", &path(query)).body(body);
        let body = r#"{"message": "Hi", "größe": 1, "mesage": null}"#;
        let warning = Some("body.gr%C3%B6%C3%9Fe, body.mesage, query.a%2Cb");

        let plain = send("", r#"{"message": "Hi"}"#).send().await;
        server.model.script().queue([Reply::text("One.")]);
        let first = send("?a,b=1", body).header("Idempotency-Key", "k").send().await;
        let again = send("", body).header("Idempotency-Key", "k").send().await;
        let stream = send("?a,b=1", body).header("accept", "text/event-stream");
        let stream = stream.header("Idempotency-Key", "s").send().await;
        let joined = send("", body).header("accept", "text/event-stream");
        let joined = joined.header("Idempotency-Key", "s").send().await;
        let invalid = send("", r#"{"mesage": "Hi"}"#).send().await;
        let unknown = server.request("POST", "/api/conversations/x/messages").body(body).send().await;
        let reused =
            send("?a,b=1", r#"{"message": "Ho", "x": 1}"#).header("Idempotency-Key", "k").send().await;

        assert_eq!(acknowledged(&plain), (200, None));
        assert_eq!(acknowledged(&first), (200, warning));
        let exposed = first.header("access-control-expose-headers").unwrap();
        assert!(exposed.contains(WARNING), "{exposed}");
        assert_eq!((again.text(), acknowledged(&again)), (first.text(), (200, warning)));
        assert_eq!(again.header("idempotent-replayed"), Some("true"));
        assert_eq!(stream.header("content-type"), Some("text/event-stream"));
        assert_eq!(acknowledged(&stream), (200, warning));
        assert_eq!(joined.header("idempotent-replayed"), Some("true"));
        assert_eq!(acknowledged(&joined), (200, warning));
        assert_eq!(acknowledged(&invalid), (422, Some("body.mesage")));
        assert_eq!(acknowledged(&unknown), (404, Some("body.gr%C3%B6%C3%9Fe, body.mesage")));
        assert_eq!(acknowledged(&reused), (422, Some("body.x, query.a%2Cb")));
    }
);

both_backends!(
    async fn a_platform_message_names_what_has_no_effect(db: TestDb) {
        let server = TestServer::start(&db).await;
        let mut body = json!({ "sender_id": "u", "sender_type": "user", "text": "Hi", "auto_reply": false });
        for number in 0..10 {
            body[format!("v{number}")] = json!(number);
        }
        let send = |body: &Value| server.enqueue(body.to_string());

        let first = send(&body).header("Idempotency-Key", "k").send().await;
        let again = send(&body).header("Idempotency-Key", "k").send().await;
        body["text"] = json!(1);
        let invalid = send(&body).send().await;

        let eight: Vec<String> = (0..8).map(|number| format!("body.v{number}")).collect();
        let warning = format!("{}, +2", eight.join(", "));
        assert_eq!(acknowledged(&first), (200, Some(&*warning)));
        assert_eq!(acknowledged(&again), (200, Some(&*warning)));
        assert_eq!((again.text(), again.header("idempotent-replayed")), (first.text(), Some("true")));
        assert_eq!(acknowledged(&invalid), (400, Some(&*warning)));
    }
);

both_backends!(
    async fn pages_accept_any_query_and_name_it(db: TestDb) {
        let server = TestServer::start(&db).await;

        for page in ["/", "/docs"] {
            let plain = server.request("GET", page).send().await;
            let linked = server.request("GET", &format!("{page}?utm_source=mail")).send().await;

            assert_eq!(acknowledged(&plain), (200, None));
            assert_eq!(acknowledged(&linked), (200, Some("query.utm_source")));
        }
    }
);

both_backends!(
    async fn an_assistant_has_two_names_and_the_default_one_needs_none(db: TestDb) {
        let server = TestServer::start(&db).await;
        let id = AssistantId(ASSISTANT.parse().unwrap()).to_string();
        let widget = async |name: &str| {
            let body = json!({ "assistant_id": name });
            server.request("POST", "/api/conversations").json(&body).send().await
        };
        let platform = async |body: Value| {
            server.request("POST", "/v1/conversations").bearer(&server.keys.full).json(&body).send().await
        };

        assert_eq!((widget(ASSISTANT).await.status, widget(&id).await.status), (200, 200));
        assert_eq!(widget(&id.replace("ast_", "con_")).await.status, 422);
        let created = platform(json!({ "type": "widget" })).await;
        assert_eq!((created.status, &created.json()["data"]["assistant_id"]), (200, &json!(id)));
        let without = workspaces::workspace(&server.tool).replace("default_assistant = \"front-desk\"", "");
        let clock = &server.services().clock;
        workspaces::try_apply(server.db(), clock.as_ref(), &server.tool, &without).await.unwrap();
        let refused = platform(json!({ "type": "widget" })).await;
        let text = "Field 'assistant_id' is required, because this workspace has no default assistant.";
        assert_eq!((refused.status, &refused.json()["message"]), (400, &json!(text)));
    }
);
