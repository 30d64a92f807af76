//! Deliveries in the platform API: reading, resending and replaying.

use http::StatusCode;
use serde_json::{Value, json};
use standardwebhooks::Webhook;

use crate::support::db::both_backends;
use crate::support::described;
use crate::support::fake_tool::{ToolReply, ToolRequest};
use crate::support::http::Response;
use crate::support::receiver::header;
use crate::support::script::Gate;
use crate::support::seed;
use crate::support::server::TestServer;
use crate::support::wait::wait_for;

const ENDPOINTS: &str = "/v1/webhook_endpoints";

async fn post(server: &TestServer, path: &str, body: &Value) -> Response {
    server.request("POST", path).bearer(&server.keys.full).json(body).send().await
}

/// Creates an endpoint at this path of the fake, and returns its API path and its secret.
async fn endpoint(server: &TestServer, path: &str, types: &[&str]) -> (String, String) {
    let body = json!({"url": server.tool.url(path), "types": types});
    let created = post(server, ENDPOINTS, &body).await.json()["data"].clone();
    let text = |field: &str| created[field].as_str().unwrap().to_owned();
    (format!("{ENDPOINTS}/{}", text("id")), text("secret"))
}

async fn post_message(server: &TestServer, text: &str) {
    let body = json!({"sender_id": "u", "sender_type": "user", "text": text, "auto_reply": false});
    assert_eq!(server.enqueue(body.to_string()).send().await.status, 200);
}

/// Waits until a delivery has this state, and returns it.
async fn wait_for_state(server: &TestServer, path: &str, state: &str) -> Value {
    let read = async || {
        let delivery_body = server.get(path).await.json()["data"].clone();
        (delivery_body["state"] == state).then_some(delivery_body)
    };
    wait_for(&format!("{path} to be {state}"), read).await
}

/// The signature that is expected with this secret.
fn signature(request: &ToolRequest, secret: &str) -> String {
    let (id, timestamp) = (header(request, "webhook-id"), header(request, "webhook-timestamp"));
    Webhook::new(secret).unwrap().sign(id, timestamp.parse().unwrap(), &request.body).unwrap()
}

both_backends!(
    async fn a_test_event_goes_only_to_its_endpoint_and_shows_its_attempt(db: TestDb) {
        described::check_responses();
        let server = TestServer::start(&db).await;
        let (path, secret) = endpoint(&server, "/tested", &["message.created"]).await;
        endpoint(&server, "/other", &[]).await;
        server.tool.script().respond_with(|_| ToolReply::json(&json!({"thanks": true})));

        let sent = post(&server, &format!("{path}/test"), &json!({})).await;

        let sent = sent.json()["data"].clone();
        let read = format!("{path}/deliveries/{}", sent["id"].as_str().unwrap());
        let delivery_body = wait_for_state(&server, &read, "delivered").await;
        let calls = server.tool.calls().all();
        let [call] = &calls[..] else { panic!("{} calls", calls.len()) };
        assert_eq!(call.request.uri.path(), "/tested");
        assert_eq!(header(&call.request, "webhook-signature"), signature(&call.request, &secret));
        let events = server.events("webhook_endpoint.test").await;
        assert_eq!(call.request.json(), events[0]);
        assert_eq!(events[0]["data"], json!({"webhook_endpoint_id": path.rsplit('/').next()}));
        assert_eq!(
            (&delivery_body["event_id"], &delivery_body["event_type"]),
            (&events[0]["id"], &events[0]["type"])
        );
        assert_eq!((&delivery_body["attempt_count"], &delivery_body["replay"]), (&json!(1), &json!(false)));
        let attempt = &delivery_body["attempts"][0];
        assert_eq!(
            (&attempt["number"], &attempt["outcome"], &attempt["status"], &attempt["excerpt"]),
            (&json!(1), &json!("delivered"), &json!(200), &json!(r#"{"thanks":true}"#))
        );
        assert!(attempt["latency_ms"].is_u64());
    }
);

both_backends!(
    async fn a_disabled_endpoint_gets_no_manual_delivery(db: TestDb) {
        let server = TestServer::start(&db).await;
        let (path, _) = endpoint(&server, "/hooks", &[]).await;
        post_message(&server, "Hi").await;
        let listed = server.get(&format!("{path}/deliveries?limit=1")).await.json();
        let delivery = listed["data"]["items"][0]["id"].as_str().unwrap().to_owned();
        let off = server.request("PATCH", &path).bearer(&server.keys.full).json(&json!({"enabled": false}));
        off.send().await;

        for (under, body) in [
            ("test", json!({})),
            ("replay", json!({"after": "0"})),
            (&*format!("deliveries/{delivery}/resend"), json!({})),
        ] {
            let refused = post(&server, &format!("{path}/{under}"), &body).await;
            assert_eq!(
                (refused.status, &refused.json()["message"]),
                (409, &json!("The webhook endpoint is disabled.")),
                "{under}"
            );
        }
    }
);

both_backends!(
    async fn a_rotated_secret_signs_beside_or_instead_of_the_old_one(db: TestDb) {
        let server = TestServer::start(&db).await;
        let (path, first) = endpoint(&server, "/hooks", &["message.created"]).await;
        let rotate = format!("{path}/rotate_secret");

        let second = server.request("POST", &rotate).bearer(&server.keys.full).send().await;
        let second = second.json()["data"].clone();
        post_message(&server, "Hi").await;
        let both = server.tool.calls().wait_for_count(1).await[0].request.clone();
        let again = post(&server, &rotate, &json!({})).await;
        let same = post(&server, &rotate, &json!({ "secret": second["secret"] })).await;
        let given = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
        let third = post(&server, &rotate, &json!({"overlap_seconds": 0, "secret": given})).await.json();
        let fourth = post(&server, &rotate, &json!({"overlap_seconds": 0, "secret": given})).await.json();
        post_message(&server, "Ho").await;
        let alone = server.tool.calls().wait_for_count(2).await[1].request.clone();

        let new = second["secret"].as_str().unwrap();
        assert_ne!(new, first);
        assert_eq!(again.status, 409, "the first secret would end: {}", again.text());
        assert_eq!((same.status, &same.json()["data"]), (200, &second), "nothing has changed");
        assert!(second["previous_secret_until"].is_string());
        assert_eq!(
            header(&both, "webhook-signature"),
            format!("{} {}", signature(&both, new), signature(&both, &first))
        );
        assert_eq!(
            (&third["data"]["secret"], third["data"].get("previous_secret_until")),
            (&json!(given), None)
        );
        assert_eq!(
            (&fourth["data"]["secret"], fourth["data"].get("previous_secret_until")),
            (&json!(given), None)
        );
        assert_eq!(header(&alone, "webhook-signature"), signature(&alone, given));
    }
);

both_backends!(
    async fn a_resend_has_the_same_id_and_continues_the_attempt_count(db: TestDb) {
        let server = TestServer::start(&db).await;
        let (path, _) = endpoint(&server, "/hooks", &["message.created"]).await;
        post_message(&server, "Hi").await;
        server.tool.calls().wait_for_count(1).await;
        let list = server.get(&format!("{path}/deliveries")).await.json()["data"].clone();
        let delivery = format!("{path}/deliveries/{}", list["items"][0]["id"].as_str().unwrap());
        let before = wait_for_state(&server, &delivery, "delivered").await;

        let queued = post(&server, &format!("{delivery}/resend"), &json!({})).await.json()["data"].clone();

        assert_eq!((&queued["id"], &queued["replay"]), (&before["id"], &json!(true)));
        let calls = server.tool.calls().wait_for_count(2).await;
        let (first, second) = (&calls[0].request, &calls[1].request);
        assert_eq!(header(first, "webhook-id"), header(second, "webhook-id"));
        assert_eq!(first.body, second.body);
        assert_eq!((header(first, "webhook-replay"), header(second, "webhook-replay")), ("", "true"));
        let after = wait_for_state(&server, &delivery, "delivered").await;
        let numbers: Vec<_> =
            after["attempts"].as_array().unwrap().iter().map(|attempt| attempt["number"].clone()).collect();
        assert_eq!(numbers, [1, 2]);
        let failed = server.get(&format!("{path}/deliveries?state=failed")).await.json();
        assert_eq!(failed["data"]["items"], json!([]));
        assert_eq!(server.get(&format!("{path}/deliveries?state=lost")).await.status, 400);
    }
);

both_backends!(
    async fn an_in_flight_delivery_is_not_resent(db: TestDb) {
        let server = TestServer::start(&db).await;
        let gate = Gate::closed();
        server.tool.script().queue([ToolReply::status(StatusCode::OK).gated_by(&gate)]);
        let (path, _) = endpoint(&server, "/hooks", &["message.created"]).await;
        post_message(&server, "Hi").await;
        server.tool.calls().wait_for_count(1).await;
        let list = server.get(&format!("{path}/deliveries")).await.json()["data"].clone();
        let delivery = format!("{path}/deliveries/{}", list["items"][0]["id"].as_str().unwrap());

        let refused = post(&server, &format!("{delivery}/resend"), &json!({})).await;
        let replayed = post(&server, &format!("{path}/replay"), &json!({"after": "0"})).await.json();
        gate.open();

        assert_eq!(
            (refused.status, refused.header("rejoinder-error")),
            (409, Some("delivery_under_way")),
            "{}",
            refused.text()
        );
        assert_eq!(replayed["data"]["deliveries"], 0);
        let after = wait_for_state(&server, &delivery, "delivered").await;
        assert_eq!((&after["attempt_count"], &after["replay"]), (&json!(1), &json!(false)));
        assert_eq!(post(&server, &format!("{delivery}/resend"), &json!({})).await.status, 200);
    }
);

both_backends!(
    async fn a_resend_is_scoped_to_its_endpoint(db: TestDb) {
        let server = TestServer::start(&db).await;
        let (path, _) = endpoint(&server, "/hooks", &["message.created"]).await;
        let (other, _) = endpoint(&server, "/other", &["reply.failed"]).await;
        post_message(&server, "Hi").await;
        let list = server.get(&format!("{path}/deliveries")).await.json()["data"].clone();
        let id = list["items"][0]["id"].as_str().unwrap();

        let read = server.get(&format!("{other}/deliveries/{id}")).await;
        let resent = post(&server, &format!("{other}/deliveries/{id}/resend"), &json!({})).await;

        assert_eq!((read.status, resent.status), (404, 404));
        assert_eq!(read.json()["message"], format!("Delivery not found: {id}."));
    }
);

both_backends!(
    async fn a_replay_covers_retained_events_of_the_requested_types(db: TestDb) {
        let server = TestServer::start(&db).await;
        for text in ["one", "two", "three"] {
            post_message(&server, text).await;
        }
        let messages = server.events("message.created").await;
        let (path, _) = endpoint(&server, "/late", &["message.created"]).await;
        let replay = async |body: Value| post(&server, &format!("{path}/replay"), &body).await.json();

        let after = replay(json!({"after": messages[0]["cursor"]})).await;
        assert_eq!(after["data"], json!({"deliveries": 2, "next_cursor": null}));
        let calls = server.tool.calls().wait_for_count(2).await;
        let mut arrived: Vec<_> = calls.iter().map(|call| call.request.json()).collect();
        arrived.sort_by_key(|event| event["cursor"].as_str().unwrap().parse::<i64>().unwrap());
        assert_eq!(arrived, messages[1..]);
        let delivered = async || {
            let listed = server.get(&format!("{path}/deliveries?state=delivered")).await.json();
            (listed["data"]["items"].as_array().unwrap().len() == 2).then_some(())
        };
        wait_for("both events to be delivered", delivered).await;

        let since = replay(json!({"since": "2026-03-15T14:22:11Z"})).await;
        assert_eq!(since["data"]["deliveries"], 3, "delivered events are sent again");
        let later = replay(json!({"since": "2026-03-15T14:22:12Z"})).await;
        assert_eq!(later["data"]["deliveries"], 0);
        let created = replay(json!({"after": "0", "types": ["conversation.created"]})).await;
        let count = server.events("conversation.created").await.len();
        assert_eq!(created["data"]["deliveries"], count);
        for body in [
            json!({}),
            json!({"after": "x"}),
            json!({"since": "today"}),
            json!({"after": "0", "since": "2026-03-15T14:22:12Z"}),
        ] {
            assert_eq!(post(&server, &format!("{path}/replay"), &body).await.status, 400, "{body}");
        }
    }
);

both_backends!(
    async fn a_replay_starts_like_the_feed(db: TestDb) {
        let server = TestServer::start(&db).await;
        for text in ["one", "two", "three"] {
            post_message(&server, text).await;
        }
        let messages = server.events("message.created").await;
        let (path, _) = endpoint(&server, "/late", &["message.created"]).await;
        let replay = async |body: Value| post(&server, &format!("{path}/replay"), &body).await;
        // Past its retention, and not removed yet.
        let second = messages[1]["cursor"].as_str().unwrap();
        let passed = "update workspace_state set events_from = CURSOR where next_cursor > CURSOR";
        seed::execute(&db, &passed.replace("CURSOR", second)).await;

        let late = replay(json!({"after": "0"})).await;
        let never = replay(json!({"after": "9999"})).await;
        let after = replay(json!({"after": messages[1]["id"]})).await.json();
        let since = replay(json!({"since": "2026-03-15T14:22:11Z", "types": ["message.created"]})).await;

        assert_eq!((late.status, late.header("rejoinder-error")), (410, Some("cursor_expired")));
        let ahead = "Field 'after' is ahead of this workspace's log: its newest cursor is ";
        let message = never.json()["message"].as_str().unwrap().to_owned();
        assert!(never.status == 409 && message.starts_with(ahead), "{message}");
        assert_eq!(after["data"]["deliveries"], 1);
        assert!(since.json()["data"]["deliveries"].as_u64().unwrap() <= 2, "{}", since.text());
        let of_first = format!("select count(*) from deliveries where cursor < {second}");
        assert_eq!(server.query_number(&of_first).await, 0);
    }
);

both_backends!(
    async fn a_replay_processes_all_chunks_and_returns_its_cursor(db: TestDb) {
        let server = TestServer::start(&db).await;
        let first = server.query_number("select max(next_cursor) from workspace_state").await;
        let rows = "with recursive n (i) as (select 0 union all select i + 1 from n where i < 10499) \
            insert into events select s.workspace_id, s.next_cursor + n.i, ID, 'message.created', null, '{}', 0 \
            from n, workspace_state s join workspaces w on w.id = s.workspace_id where w.slug = 'demo';
            update workspace_state set next_cursor = next_cursor + 10500 \
            where workspace_id = (select id from workspaces where slug = 'demo');";
        let id = if server.db().is_shared() { "gen_random_uuid()" } else { "randomblob(16)" };
        seed::execute(&db, &rows.replace("ID", id)).await;
        let (path, _) = endpoint(&server, "/late", &[]).await;
        let replay = async |after: &str| {
            post(&server, &format!("{path}/replay"), &json!({"after": after, "types": ["message.created"]}))
                .await
                .json()["data"]
                .clone()
        };

        let whole = replay(&(first - 1).to_string()).await;
        let rest = replay(whole["next_cursor"].as_str().unwrap()).await;

        assert_eq!(whole["deliveries"], 10_000);
        assert_eq!(rest, json!({"deliveries": 500, "next_cursor": null}));
    }
);
