//! Turns are listed, and failed ones are run again.

use futures::future::join_all;
use rejoinder::domain::account::Scope;
use serde_json::{Value, json};

use super::keys::create;
use crate::support::db::both_backends;
use crate::support::described;
use crate::support::fake_model::{Reply, ToolCall};
use crate::support::http::Response;
use crate::support::script::Gate;
use crate::support::server::{Setup, TestServer};
use crate::support::wait::wait_for;

/// A reply costs a cent.
fn priced(balance: &'static str) -> Setup {
    let priced = move |text: String| {
        let with_price = format!("balance = \"{balance}\"\npricing = {{ api = \"0.01\" }}");
        text.replace("balance = \"10.00\"", &with_price)
    };
    Setup::default().system_clock().workspace(priced)
}

/// Sends a message, and returns its conversation and turn.
async fn send(server: &TestServer, con: Option<&str>, text: &str) -> (String, String) {
    let mut body = json!({ "sender_id": "usr_1", "sender_type": "user", "text": text });
    if let Some(con) = con {
        body["conversation_id"] = json!(con);
    }
    let sent = server.enqueue(body.to_string()).send().await;
    let turn = sent.header("rejoinder-turn").expect("a turn").to_owned();
    (sent.json()["data"]["conversation_id"].as_str().unwrap().to_owned(), turn)
}

async fn turn(server: &TestServer, id: &str) -> Value {
    server.get(&format!("/v1/turns/{id}")).await.json()["data"].clone()
}

async fn wait_for_state(server: &TestServer, id: &str, state: &str) -> Value {
    let look = async || Some(turn(server, id).await).filter(|turn| turn["state"] == state);
    wait_for(&format!("a turn that is {state}"), look).await
}

async fn failed(server: &TestServer, con: Option<&str>, text: &str) -> (String, String) {
    server.model.script().queue([Reply::garbage()]);
    let (con, turn) = send(server, con, text).await;
    wait_for_state(server, &turn, "failed").await;
    (con, turn)
}

async fn retry(server: &TestServer, id: &str, key: Option<&str>) -> Response {
    let request = server.request("POST", &format!("/v1/turns/{id}/retry")).bearer(&server.keys.full);
    match key {
        Some(key) => request.header("Idempotency-Key", key).send().await,
        None => request.send().await,
    }
}

async fn ledger(server: &TestServer) -> Vec<(String, String)> {
    let listed = server.get("/v1/ledger").await.json();
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let items = listed["data"]["items"].as_array().unwrap().clone();
    items.iter().skip(1).map(|item| (text(&item["kind"]), text(&item["turn_id"]))).collect()
}

both_backends!(
    async fn a_failed_turn_is_run_again_and_charged_again(db: TestDb) {
        described::check_responses();
        let server = priced("1.00").start(&db).await;
        let (con, first) = failed(&server, None, "Hi").await;
        assert_eq!(server.balance().await, "1.00");
        server.model.script().queue([Reply::text("Here I am.")]);

        let retried = retry(&server, &first, None).await;

        assert_eq!(retried.status, 200, "{}", retried.text());
        let second = retried.json()["data"]["id"].as_str().unwrap().to_owned();
        assert_ne!(second, first);
        let done = wait_for_state(&server, &second, "completed").await;
        assert_eq!(done["message_id"], turn(&server, &first).await["message_id"]);
        assert_eq!(turn(&server, &first).await["retry_turn_id"], json!(second));
        let messages = server.wait_for_messages(&con, 2).await;
        assert_eq!(messages[1]["text"], "Here I am.");
        assert_eq!(messages[1]["reply_to_message_id"], messages[0]["id"]);
        assert_eq!(server.balance().await, "0.99");
        let entries = ledger(&server).await;
        let entry = |kind: &str, turn: &str| (kind.to_owned(), turn.to_owned());
        assert_eq!(entries, [entry("charge", &first), entry("refund", &first), entry("charge", &second)]);
        for id in [&first, &second] {
            let again = retry(&server, id, None).await;
            assert_eq!((again.status, again.header("rejoinder-error")), (409, Some("conflict")));
        }
        let trace =
            server.get(&format!("/v1/messages/{}/trace", messages[0]["id"].as_str().unwrap())).await.json();
        assert_eq!(trace["data"]["turn"]["id"], json!(second), "the trace is that of the last turn");
    }
);

both_backends!(
    async fn retries_at_once_make_one_turn(db: TestDb) {
        let server = priced("1.00").start(&db).await;
        let (con, first) = failed(&server, None, "Hi").await;

        let answers = join_all((0..8).map(|_| retry(&server, &first, None))).await;

        let statuses: Vec<u16> = answers.iter().map(|answer| answer.status).collect();
        assert_eq!(statuses.iter().filter(|status| **status == 200).count(), 1, "{statuses:?}");
        assert_eq!(statuses.iter().filter(|status| **status == 409).count(), 7, "{statuses:?}");
        server.wait_for_messages(&con, 2).await;
        assert_eq!(server.balance().await, "0.99");
    }
);

both_backends!(
    async fn a_key_makes_a_retry_safe(db: TestDb) {
        let server = priced("1.00").start(&db).await;
        let (con, first) = failed(&server, None, "Hi").await;
        let (_, other) = failed(&server, None, "Ho").await;

        let answers = join_all((0..4).map(|_| retry(&server, &first, Some("again-1")))).await;

        assert!(answers.iter().all(|answer| answer.status == 200), "{answers:?}");
        let id = |answer: &Response| answer.json()["data"]["id"].clone();
        assert!(answers.iter().all(|answer| id(answer) == id(&answers[0])));
        let replayed = answers.iter().filter(|answer| answer.header("idempotent-replayed") == Some("true"));
        assert_eq!(replayed.count(), 3);
        server.wait_for_messages(&con, 2).await;
        let later = retry(&server, &first, Some("again-1")).await;
        assert_eq!(id(&later), id(&answers[0]));
        wait_for("its end", async || {
            let again = retry(&server, &first, Some("again-1")).await.json();
            (again["data"]["state"] == "completed").then_some(())
        })
        .await;
        assert_eq!(retry(&server, &other, Some("again-1")).await.status, 422);
        assert_eq!(retry(&server, &other, Some("")).await.status, 400);
    }
);

both_backends!(
    async fn a_retry_counts_to_the_key_that_asks_for_it(db: TestDb) {
        let server = priced("1.00").start(&db).await;
        let (con, first) = failed(&server, None, "Hi").await;
        let (other, other_id) = create(&server, &[Scope::MessagesWrite]).await;

        let path = format!("/v1/turns/{first}/retry");
        let retried = server.request("POST", &path).bearer(&other).send().await;
        assert_eq!(retried.status, 200, "{}", retried.text());
        server.wait_for_messages(&con, 2).await;

        let counted = async || {
            let usage = "/v1/usage?start=2020-01-01&group_by=key";
            let usage = server.get(usage).await.json()["data"].to_string();
            usage.contains(&other_id).then_some(())
        };
        wait_for("the usage of the second key", counted).await;
    }
);

both_backends!(
    async fn only_a_failed_turn_of_the_workspace_is_retried(db: TestDb) {
        let server = priced("1.00").start(&db).await;
        let (con, done) = send(&server, None, "Hi").await;
        wait_for_state(&server, &done, "completed").await;
        let (_, broken) = failed(&server, Some(&con), "Ho").await;

        let completed = retry(&server, &done, None).await;
        assert_eq!(completed.status, 409);
        assert!(completed.text().contains("this one is completed"), "{}", completed.text());
        let path = format!("/v1/turns/{broken}/retry");
        let foreign = server.request("POST", &path).bearer(&server.keys.other_workspace).send().await;
        assert_eq!(foreign.status, 404);
        assert_eq!(server.request("POST", &path).bearer(&server.keys.read_only).send().await.status, 403);
        assert_eq!(retry(&server, "trn_00000000000000000000000001", None).await.status, 404);
        let change = |body: Value| {
            let path = format!("/v1/conversations/{con}");
            server.request("PATCH", &path).bearer(&server.keys.full).json(&body).send()
        };
        change(json!({ "ai_enabled": false })).await;
        assert_eq!(retry(&server, &broken, None).await.status, 409);
        change(json!({ "ai_enabled": true })).await;
        change(json!({ "ended": true })).await;
        assert_eq!(retry(&server, &broken, None).await.status, 409);
        assert_eq!(server.balance().await, "0.99");
    }
);

both_backends!(
    async fn a_retry_without_balance_changes_nothing(db: TestDb) {
        let server = priced("0.01").start(&db).await;
        let (con, broken) = failed(&server, None, "Hi").await;
        let (_, paid) = send(&server, Some(&con), "Ho").await;
        wait_for_state(&server, &paid, "completed").await;
        assert_eq!(server.balance().await, "0.00");
        let before = server.row_counts().await;

        let refused = retry(&server, &broken, Some("key")).await;

        assert_eq!((refused.status, refused.header("rejoinder-error")), (400, Some("insufficient_balance")));
        assert_eq!(server.row_counts().await, before);
        assert_eq!(turn(&server, &broken).await.get("retry_turn_id"), None);
    }
);

both_backends!(
    async fn a_retry_waits_for_the_open_turn_and_answers_its_own_message(db: TestDb) {
        let server = priced("1.00").start(&db).await;
        let (con, broken) = failed(&server, None, "one").await;
        let gate = Gate::closed();
        server.model.script().queue([
            Reply::text("re: two").gated_by(&gate),
            Reply::text("re: one"),
            Reply::text("re: three"),
        ]);
        send(&server, Some(&con), "two").await;
        server.model.calls().wait_for_count(2).await;
        send(&server, Some(&con), "three").await;

        let retried = retry(&server, &broken, None).await.json();
        assert_eq!(retried["data"]["state"], "waiting");
        gate.open();
        let messages = server.wait_for_messages(&con, 6).await;

        let texts: Vec<_> = messages.iter().map(|message| message["text"].as_str().unwrap()).collect();
        assert_eq!(texts, ["one", "two", "three", "re: two", "re: one", "re: three"]);
        let calls = server.model.calls();
        assert_eq!(calls.overlaps(|_| Some(())), [], "no two turns of a conversation run at once");
        let spoken = |nth: usize| -> Vec<String> {
            let request = calls.all()[nth].request.clone();
            let messages = request.messages().iter().skip(1);
            messages.map(|message| message["content"].as_str().unwrap_or_default().to_owned()).collect()
        };
        assert_eq!(spoken(2), ["one"], "the retry sees what its message saw");
        assert_eq!(spoken(3), ["one", "re: one", "two", "re: two", "three"]);
    }
);

both_backends!(
    async fn a_waiting_turn_that_ends_starts_no_second_one(db: TestDb) {
        let server = priced("1.00").start(&db).await;
        let (con, broken) = failed(&server, None, "one").await;
        let gate = Gate::closed();
        let reply_gate = gate.clone();
        server.model.script().respond_with(move |_| Reply::text("Yes.").gated_by(&reply_gate));
        send(&server, Some(&con), "two").await;
        server.model.calls().wait_for_count(2).await;
        let (_, third) = send(&server, Some(&con), "three").await;
        let retried = retry(&server, &broken, None).await.json();

        let path = format!("/v1/turns/{third}/cancel");
        let cancelled = server.request("POST", &path).bearer(&server.keys.full).send().await;

        assert_eq!(cancelled.status, 200, "{}", cancelled.text());
        let retry_turn = retried["data"]["id"].as_str().unwrap();
        assert_eq!(turn(&server, retry_turn).await["state"], "waiting");
        gate.open();
        wait_for_state(&server, retry_turn, "completed").await;
        assert_eq!(server.model.calls().overlaps(|_| Some(())), []);
    }
);

both_backends!(
    async fn a_retry_knows_the_calls_of_the_failed_turn(db: TestDb) {
        let server = priced("1.00").start(&db).await;
        let call = ToolCall::new("get_order_status", &json!({ "order_id": "7" }));
        server.model.script().queue([Reply::tool_calls([call]), Reply::garbage(), Reply::text("Shipped.")]);
        let (con, broken) = send(&server, None, "Where is order 7?").await;
        wait_for_state(&server, &broken, "failed").await;

        retry(&server, &broken, None).await;
        server.wait_for_messages(&con, 2).await;

        let calls = server.model.calls().all();
        let roles: Vec<_> = calls[2]
            .request
            .messages()
            .iter()
            .map(|message| message["role"].as_str().unwrap().to_owned())
            .collect();
        assert_eq!(roles, ["system", "user", "assistant", "tool"], "it does not make the call again");
    }
);

both_backends!(
    async fn turns_are_listed_and_filtered_newest_first(db: TestDb) {
        let server = priced("1.00").start(&db).await;
        let (con, broken) = failed(&server, None, "one").await;
        let (_, done) = send(&server, None, "two").await;
        wait_for_state(&server, &done, "completed").await;
        let list = async |query: &str| {
            let listed = server.get(&format!("/v1/turns?{query}")).await;
            assert_eq!(listed.status, 200, "{}", listed.text());
            let json = listed.json();
            let ids: Vec<String> = json["data"]["items"]
                .as_array()
                .unwrap()
                .iter()
                .map(|item| item["id"].as_str().unwrap().to_owned())
                .collect();
            (ids, json["data"]["next_cursor"].as_str().map(str::to_owned))
        };

        assert_eq!(list("").await, (vec![done.clone(), broken.clone()], None));
        assert_eq!(list("state=failed").await.0, [&*broken]);
        assert_eq!(list(&format!("conversation_id={con}")).await.0, [&*broken]);
        assert_eq!(list("api=platform&created_after=2020-01-01T00:00:00Z").await.0.len(), 2);
        assert_eq!(list("api=widget").await.0.len(), 0);
        assert_eq!(list("created_before=2020-01-01T00:00:00Z").await.0.len(), 0);
        let (first, next) = list("limit=1").await;
        let (second, end) = list(&format!("limit=1&cursor={}", next.unwrap())).await;
        assert_eq!((first, second, end), (vec![done], vec![broken], None));
        let other =
            server.request("GET", "/v1/turns").bearer(&server.keys.other_workspace).send().await.json();
        assert_eq!(other["data"]["items"], json!([]));
        for query in ["state=done", "api=x", "conversation_id=x", "created_after=x", "cursor=x", "x=1"] {
            assert_eq!(server.get(&format!("/v1/turns?{query}")).await.status, 400, "{query}");
        }
    }
);
