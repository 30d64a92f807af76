//! Conversations, turns, balance and ledger in the platform API.

use serde_json::{Value, json};

use crate::support::db::both_backends;
use crate::support::http::Response;
use crate::support::server::{ASSISTANT, TestServer};

async fn get(server: &TestServer, path: &str) -> Response {
    server.request("GET", path).bearer(&server.keys.full).send().await
}

async fn create(server: &TestServer, body: Value) -> Value {
    let created = server
        .request("POST", "/v1/conversations")
        .bearer(&server.keys.full)
        .raw_json(body.to_string())
        .send()
        .await;
    assert_eq!(created.status, 200, "{}", created.text());
    created.json()["data"].clone()
}

/// Reads a list to its end, and returns the items of each page.
async fn pages(server: &TestServer, path: &str) -> Vec<Vec<Value>> {
    let mut pages = Vec::new();
    let mut cursor = String::new();
    loop {
        let answer = get(server, &format!("{path}{cursor}")).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        let data = answer.json()["data"].clone();
        pages.push(data["items"].as_array().unwrap().clone());
        match data["next_cursor"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => return pages,
        }
    }
}

both_backends!(
    async fn a_conversation_is_created_and_found(db: TestDb) {
        let server = TestServer::start(&db).await;

        let created = create(
            &server,
            json!({
                "assistant_id": ASSISTANT, "variables": {"plan": "pro"}, "external_identifier": "crm-7",
                "metadata": {"z": 1, "a": 2},
            }),
        )
        .await;
        let id = created["id"].as_str().unwrap();
        let read = get(&server, &format!("/v1/conversations/{id}")).await;

        assert_eq!(read.json()["data"], created);
        assert_eq!(created["type"], "api");
        assert_eq!(created["external_identifier"], "crm-7");
        assert!(
            read.text().contains(r#""metadata":{"z": 1, "a": 2}"#)
                || read.text().contains(r#""metadata":{"z":1,"a":2}"#)
        );
        assert!(created.get("widget_uuid").is_none() && created.get("first_message").is_none());
        for query in ["external_identifier=crm-7", "type=api", &format!("assistant_id={ASSISTANT}")] {
            let found = get(&server, &format!("/v1/conversations?{query}")).await.json();
            let items = found["data"]["items"].as_array().unwrap();
            assert!(items.iter().any(|item| item["id"] == id), "{query}: {items:?}");
        }
        let others = get(&server, "/v1/conversations?type=widget").await.json();
        assert_eq!(
            others["data"]["items"].as_array().unwrap().len(),
            1,
            "the conversation of the workspace file"
        );
    }
);

both_backends!(
    async fn a_widget_conversation_has_a_link_and_a_first_message(db: TestDb) {
        let server = TestServer::start(&db).await;

        let created = create(
            &server,
            json!({"assistant_id": ASSISTANT, "type": "widget", "variables": {"name": "Ada"}}),
        )
        .await;
        let (id, uuid) = (created["id"].as_str().unwrap(), created["widget_uuid"].as_str().unwrap());
        assert_eq!(created["first_message"]["text"], "Hello Ada!");
        let visible = server.request("GET", &format!("/api/conversations/{uuid}")).send().await.json();
        let renewed = server
            .request("POST", &format!("/v1/conversations/{id}/widget_link"))
            .bearer(&server.keys.full)
            .send()
            .await
            .json();
        let renewed = renewed["data"]["widget_uuid"].as_str().unwrap();

        assert_eq!(visible["history"][0]["content"], "Hello Ada!");
        assert_eq!(visible["variables"], json!({}), "variables set by an API key are not the visitor's");
        assert_eq!(server.request("GET", &format!("/api/conversations/{uuid}")).send().await.status, 404);
        assert_eq!(server.request("GET", &format!("/api/conversations/{renewed}")).send().await.status, 200);
        let found = get(&server, &format!("/v1/conversations?widget_uuid={renewed}")).await.json();
        assert_eq!(found["data"]["items"][0]["id"], id);
    }
);

both_backends!(
    async fn an_invalid_conversation_is_refused_with_the_reason(db: TestDb) {
        let server = TestServer::start(&db).await;

        for (body, text) in [
            (json!({"assistant_id": 1}), "Field 'assistant_id' must be a string."),
            (
                json!({"assistant_id": "x"}),
                "Field 'assistant_id' must be an id of the form ast_…, or a UUID.",
            ),
            (
                json!({"assistant_id": ASSISTANT, "type": "x"}),
                "Field 'type' must be one of: widget, test, api.",
            ),
            (json!({"assistant_id": ASSISTANT, "variables": []}), "Field 'variables' must be an object."),
        ] {
            let answer = server
                .request("POST", "/v1/conversations")
                .bearer(&server.keys.full)
                .raw_json(body.to_string())
                .send()
                .await;
            assert_eq!((answer.status, &answer.json()["message"]), (400, &json!(text)));
        }
        let foreign = json!({"assistant_id": ASSISTANT}).to_string();
        let foreign = server
            .request("POST", "/v1/conversations")
            .bearer(&server.keys.other_workspace)
            .raw_json(foreign)
            .send()
            .await;
        assert_eq!(foreign.status, 404);
    }
);

both_backends!(
    async fn lists_are_read_page_by_page(db: TestDb) {
        let server = TestServer::start(&db).await;
        let mut ids = Vec::new();
        for _ in 0..5 {
            ids.push(create(&server, json!({"assistant_id": ASSISTANT})).await["id"].clone());
        }
        for text in ["a", "b", "c"] {
            let body = json!({"conversation_id": ids[0], "sender_id": "u", "sender_type": "user", "text": text, "auto_reply": false});
            assert_eq!(server.enqueue(body.to_string()).send().await.status, 200);
        }

        let found = pages(&server, "/v1/conversations?type=api&limit=2").await;
        let con = ids[0].as_str().unwrap().to_owned();
        let messages = pages(&server, &format!("/v1/conversations/{con}/messages?limit=2")).await;

        assert_eq!(found.iter().map(Vec::len).collect::<Vec<_>>(), [2, 2, 1]);
        let mut listed: Vec<_> = found.concat().iter().map(|item| item["id"].clone()).collect();
        listed.sort_by_key(Value::to_string);
        ids.sort_by_key(Value::to_string);
        assert_eq!(listed, ids);
        let texts: Vec<_> = messages.concat().iter().map(|item| item["text"].clone()).collect();
        assert_eq!(texts, ["a", "b", "c"]);
        for path in [
            "/v1/conversations?cursor=x",
            "/v1/ledger?cursor=x",
            &format!("/v1/conversations/{con}/messages?cursor=x"),
        ] {
            let answer = get(&server, path).await;
            assert_eq!(
                (answer.status, &answer.json()["message"]),
                (400, &json!("Field 'cursor' is not a cursor of this list."))
            );
        }
        assert_eq!(get(&server, "/v1/conversations?limit=0").await.status, 400);
    }
);

both_backends!(
    async fn balance_and_ledger_show_every_entry(db: TestDb) {
        let server = TestServer::start(&db).await;
        let uuid = server.create_conversation().await;
        server.post_message_body(&uuid, r#"{"message": "Hi"}"#).send().await;

        let balance = get(&server, "/v1/balance").await;
        let ledger = get(&server, "/v1/ledger").await.json();

        assert_eq!(
            balance.text(),
            r#"{"status":"success","message":"Balance retrieved successfully.","data":{"balance":"9.99","currency":"USD"}}"#
        );
        let items = ledger["data"]["items"].as_array().unwrap();
        assert_eq!((&items[0]["kind"], &items[0]["amount"]), (&json!("top_up"), &json!("10.00")));
        assert_eq!((&items[1]["kind"], &items[1]["amount"]), (&json!("charge"), &json!("-0.01")));
        assert_eq!((&items[1]["number"], &items[1]["balance_after"]), (&json!(2), &json!("9.99")));
        assert!(items[1]["turn_id"].as_str().unwrap().starts_with("trn_"));
        assert_eq!(ledger["data"]["next_cursor"], Value::Null);
        let scope = server.request("GET", "/v1/ledger").bearer(&server.keys.read_only).send().await;
        assert_eq!(scope.status, 403);
    }
);

both_backends!(
    async fn a_turn_and_its_events_can_be_read(db: TestDb) {
        let server = TestServer::start(&db).await;
        let uuid = server.create_conversation().await;
        let response = server.post_message_body(&uuid, r#"{"message": "Hi"}"#).send().await;
        let turn = response.header("rejoinder-turn").unwrap();

        let read = get(&server, &format!("/v1/turns/{turn}")).await.json();
        let events = get(&server, "/v1/events?after=2&limit=2").await.json();
        let rest =
            get(&server, &format!("/v1/events?after={}", events["data"]["next_cursor"].as_str().unwrap()))
                .await
                .json();

        assert_eq!((&read["data"]["state"], &read["data"]["price"]), (&json!("completed"), &json!("0.01")));
        assert!(read["data"]["reply_message_id"].as_str().unwrap().starts_with("msg_"));
        let kinds: Vec<_> = [&events, &rest]
            .iter()
            .flat_map(|page| page["data"]["items"].as_array().unwrap())
            .map(|event| event["type"].clone())
            .collect();
        assert_eq!(kinds, ["conversation.created", "message.created", "message.created"]);
        assert_eq!(rest["data"]["next_cursor"], "5");
        assert_eq!(get(&server, "/v1/events?after=x").await.status, 400);
        let foreign = server
            .request("GET", &format!("/v1/turns/{turn}"))
            .bearer(&server.keys.other_workspace)
            .send()
            .await;
        assert_eq!(
            (foreign.status, &foreign.json()["message"]),
            (404, &json!(format!("Turn not found: {turn}.")))
        );
    }
);

both_backends!(
    async fn foreign_and_unknown_conversations_get_the_same_bytes(db: TestDb) {
        let server = TestServer::start(&db).await;
        let id = create(&server, json!({"assistant_id": ASSISTANT})).await["id"].as_str().unwrap().to_owned();

        let (ended, nothing) = (r#"{"ended": true}"#, "{}");
        for (method, tail, body) in [
            ("GET", "", nothing),
            ("GET", "/messages", nothing),
            ("POST", "/widget_link", nothing),
            ("PATCH", "", ended),
        ] {
            let path = format!("/v1/conversations/{id}{tail}");
            let answer = server
                .request(method, &path)
                .bearer(&server.keys.other_workspace)
                .raw_json(body)
                .send()
                .await;
            let expected =
                format!(r#"{{"status":"error","message":"Conversation not found: {id}.","data":null}}"#);
            assert_eq!((answer.status, answer.text()), (404, &*expected), "{method} {tail}");
        }
    }
);
