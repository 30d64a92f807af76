//! Every table is filled through the API with a marker; after the erasure neither the rows nor what `pg_dump` writes have any of it, and
//! neither have the files of SQLite.

use futures::future::join_all;
use rejoinder::domain::account::Scope;
use serde_json::{Value, json};

use super::{create_key, delete, erase, erasing_key, wait_until_done};
use crate::support::db::{TestDb, both_backends};
use crate::support::fake_model::{ModelRequest, Reply, ToolCall};
use crate::support::fake_tool::ToolReply;
use crate::support::http::Response;
use crate::support::identity;
use crate::support::receiver::FakeReceiver;
use crate::support::script::Gate;
use crate::support::seed;
use crate::support::server::{ASSISTANT, Setup, TestServer, WIDGET};
use crate::support::wait::wait_for;

/// In everything that is said and done in the conversation.
const MARKER: &str = "qzxmarker";
/// The other person's, which stays.
const STAYS: &str = "vwkstays";

async fn create(server: &TestServer, marker: &str, kind: &str) -> Response {
    let body = json!({
        "assistant_id": ASSISTANT, "type": kind, "external_identifier": format!("{marker}@example.com"),
        "variables": { "name": marker, "plan": marker }, "metadata": { "crm": marker },
    });
    let request = server.request("POST", "/v1/conversations").bearer(&server.keys.full).json(&body);
    request.header("idempotency-key", &format!("{marker}-create-{kind}")).send().await
}

/// A platform message with the marker everywhere.
fn message(con: &str, marker: &str, auto_reply: bool) -> Value {
    json!({
        "conversation_id": con, "sender_id": format!("{marker}-sender"), "sender_type": "user",
        "text": format!("I am {marker}"), "metadata": { "from": marker }, "auto_reply": auto_reply,
    })
}

/// Says and does everything that is stored, in a conversation of both APIs. Returns its id and its creation.
async fn fill(server: &TestServer, marker: &'static str, start: &str) -> (String, Response) {
    let created = create(server, marker, "widget").await;
    assert_eq!(created.status, 200, "{}", created.text());
    let data = created.json()["data"].clone();
    let (con, uuid) = (data["id"].as_str().unwrap(), data["widget_uuid"].as_str().unwrap());
    let booking = json!({
        "start": start, "title": format!("Call {marker}"), "name": marker,
        "email": format!("{marker}@example.com"), "notes": marker,
    });
    let order = json!({ "order_id": marker });
    server.tool.script().respond_with(move |_| ToolReply::json(&json!({ "of": marker })));
    server.model.script().queue([
        Reply::text_and_tool_calls(
            &format!("{marker}, let me look."),
            [ToolCall::new("get_order_status", &order)],
        ),
        Reply::tool_calls([ToolCall::new("book_appointment", &booking)]),
        Reply::text(&format!("Booked, {marker}.")),
    ]);
    let sent = server.post_message(uuid, &format!("Hello from {marker}"));
    let replied = sent.header("idempotency-key", &format!("{marker}-widget")).send().await;
    assert_eq!(replied.status, 200, "{}", replied.text());
    assert_eq!(replied.json()["function_calls"][1]["result"]["success"], true, "{}", replied.text());

    let reply = server.messages(con).await.last().unwrap()["id"].as_str().unwrap().to_owned();
    let rating = server.request("PUT", &format!("/api/conversations/{uuid}/messages/{reply}/feedback"));
    let rating = rating.json(&json!({ "rating": "up", "comment": format!("Thank you from {marker}") }));
    assert_eq!(rating.send().await.status, 200);

    let failed = http::StatusCode::FORBIDDEN;
    server.model.script().queue([Reply::error(failed, marker)]);
    assert_eq!(server.post_message(uuid, &format!("{marker} fails")).send().await.status, 400);

    server.model.script().queue([Reply::text(&format!("Streamed to {marker}."))]);
    let mut stream = server.post_message(uuid, &format!("{marker} streams")).stream().await;
    while stream.block().await.is_some() {}

    let stored = server.enqueue(message(con, marker, false).to_string());
    let stored = stored.header("idempotency-key", &format!("{marker}-message")).send().await;
    assert_eq!(stored.status, 200, "{}", stored.text());
    let path = format!("/v1/conversations/{con}");
    let patched = json!({ "metadata": { "changed": marker } });
    server.request("PATCH", &path).bearer(&server.keys.full).json(&patched).send().await;
    (con.to_owned(), created)
}

/// What [`find_marker`] calls a dump of PostgreSQL and the files of SQLite.
const STORED: &str = "the dump or the files";

/// The rows that have the marker, and whether a dump of PostgreSQL or the files of SQLite have it.
async fn find_marker(db: &TestDb, marker: &str) -> Vec<String> {
    let mut found: Vec<String> = seed::contents(db).await;
    found.retain(|row| row.contains(marker));
    let has_marker = db.stored_bytes().windows(marker.len()).any(|window| window == marker.as_bytes());
    found.extend(has_marker.then(|| STORED.to_owned()));
    found
}

both_backends!(
    async fn nothing_of_a_person_is_left_and_everything_of_another_stays(db: TestDb) {
        let server = Setup::default().env("REJOINDER_OUTBOUND__ALLOW_HOSTS", "127.0.0.1").start(&db).await;
        let receiver = FakeReceiver::start().await;
        receiver.script().respond_with(|request| ToolReply::json(&request.json()));
        receiver.create_endpoint(&server, &db, "/delivered").await;
        let failing = FakeReceiver::start().await;
        failing.script().respond_with(|request| {
            ToolReply::status(http::StatusCode::INTERNAL_SERVER_ERROR).with_body(request.body.clone())
        });
        failing.create_endpoint(&server, &db, "/failed").await;
        let (other, _) = fill(&server, STAYS, "2026-03-18 10:00").await;
        let (con, created) = fill(&server, MARKER, "2026-03-16 14:00").await;
        let attempted = async || {
            let echoed = format!("select count(*) from attempts where excerpt like '%{MARKER}%'");
            (server.query_number(&echoed).await >= 2).then_some(())
        };
        wait_for("both endpoints to have answered", attempted).await;
        let balance = server.balance().await;
        let gate = Gate::closed();
        let reply_gate = gate.clone();
        server
            .model
            .script()
            .respond_with(move |_: &ModelRequest| Reply::text("never").gated_by(&reply_gate));
        let running = server.enqueue(message(&con, MARKER, true).to_string()).send().await;
        let turn = running.header("rejoinder-turn").unwrap().to_owned();
        let before = find_marker(&db, MARKER).await;
        assert!(before.len() > 1 && before.iter().any(|found| found == STORED), "{before:?}");
        let events = server.get("/v1/events?limit=200").await.json()["data"]["items"].clone();

        let key = erasing_key(&server).await;
        let person = json!({ "external_identifier": format!("{MARKER}@example.com") });
        let accepted = erase(&server, &key, &person).await;
        let erasure = wait_until_done(&server, &key, &accepted).await;

        assert_eq!(find_marker(&db, MARKER).await, Vec::<String>::new());
        gate.open();
        assert_eq!(
            (&erasure["removed"]["conversations"], &erasure["removed"]["bookings"]),
            (&json!(1), &json!(1))
        );
        assert_eq!((&erasure["remaining"], &erasure["remaining_count"]), (&json!([]), &json!(0)));
        assert_eq!(server.get(&format!("/v1/conversations/{con}")).await.status, 404);
        assert_eq!(server.get(&format!("/v1/turns/{turn}")).await.status, 404);
        assert_eq!(server.balance().await, balance, "the running turn is refunded, and the ledger stays");
        let discarded = server.events("reply.discarded").await;
        assert_eq!(discarded.len(), 1);
        assert_eq!(discarded[0].get("data"), None);
        let after = server.get("/v1/events?limit=200").await.json()["data"]["items"].clone();
        let cursors = |events: &Value| -> Vec<Value> {
            events.as_array().unwrap().iter().map(|event| event["cursor"].clone()).collect()
        };
        let (before, after) = (cursors(&events), cursors(&after));
        assert_eq!(after[..before.len()], before, "the feed has no gap");
        let again = create(&server, MARKER, "widget").await;
        assert_eq!(
            (again.status, created.status),
            (404, 200),
            "a repeated request creates nothing: {}",
            again.text()
        );
        let bookings = server.bookings("").await;
        let state = |booking: &Value| (booking["conversation_id"].clone(), booking["state"].clone());
        assert!(
            bookings.iter().any(|booking| state(booking) == (json!(con), json!("cancelled"))),
            "{bookings:?}"
        );
        let kept = bookings.iter().find(|booking| booking["conversation_id"] == json!(other)).unwrap();
        assert_eq!((&kept["state"], &kept["name"]), (&json!("booked"), &json!(STAYS)));
        let messages = server.messages(&other).await;
        assert!(messages.iter().any(|message| message["text"].as_str().unwrap().contains(STAYS)));
        let invariants = "select count(*) from workspace_state s where balance <> \
            (select coalesce(sum(amount), 0) from ledger l where l.workspace_id = s.workspace_id)";
        assert_eq!(server.query_number(invariants).await, 0);
    }
);

both_backends!(
    async fn a_person_is_also_found_by_the_sender_of_their_messages(db: TestDb) {
        let server = TestServer::start(&db).await;
        let mut own = Vec::new();
        for text in ["one", "two"] {
            let mut body = message("", MARKER, false);
            body["text"] = json!(text);
            body.as_object_mut().unwrap().remove("conversation_id");
            let sent = server.enqueue(body.to_string()).send().await.json();
            own.push(sent["data"]["conversation_id"].as_str().unwrap().to_owned());
        }
        let other = server.store_message(None, "Hi").await;
        server.post_message(WIDGET, "a visitor").send().await;
        let key = erasing_key(&server).await;

        let visitors = erase(&server, &key, &json!({ "sender_id": "visitor" })).await;
        let nobody = wait_until_done(&server, &key, &visitors).await;
        let accepted = erase(&server, &key, &json!({ "sender_id": format!("{MARKER}-sender") })).await;
        let erasure = wait_until_done(&server, &key, &accepted).await;

        assert_eq!(nobody["removed"]["conversations"], 0, "all visitors have the same name");
        assert_eq!(
            (&erasure["removed"]["conversations"], &erasure["removed"]["messages"]),
            (&json!(2), &json!(2))
        );
        for con in own {
            assert_eq!(server.get(&format!("/v1/conversations/{con}")).await.status, 404);
        }
        assert_eq!(server.messages(&other).await.len(), 1);
        assert_eq!(find_marker(&db, MARKER).await, Vec::<String>::new());
    }
);

both_backends!(
    async fn all_conversations_of_a_busy_sender_are_found(db: TestDb) {
        let server = TestServer::start(&db).await;
        let create = async |nth| {
            let mut body = message("", MARKER, false);
            body.as_object_mut().unwrap().remove("conversation_id");
            let sent = server.enqueue(body.to_string()).send().await.json();
            for _ in 0..nth % 3 {
                let con = sent["data"]["conversation_id"].as_str().unwrap();
                server.enqueue(message(con, MARKER, false).to_string()).send().await;
            }
        };
        join_all((0..40).map(create)).await;
        let other = server.store_message(None, "Hi").await;
        let key = erasing_key(&server).await;

        let accepted = erase(&server, &key, &json!({ "sender_id": format!("{MARKER}-sender") })).await;
        let erasure = wait_until_done(&server, &key, &accepted).await;

        assert_eq!(erasure["removed"]["conversations"], 40);
        assert_eq!(server.messages(&other).await.len(), 1);
    }
);

both_backends!(
    async fn a_person_is_also_found_by_their_identity(db: TestDb) {
        let secret = "name = \"Front desk\"\nidentity_secrets = [{ env = \"IDENTITY\" }]";
        let edit = move |text: String| text.replace("name = \"Front desk\"", secret);
        let server = Setup::default().workspace(edit).start(&db).await;
        let create = async |subject: &str| {
            let mut claims = identity::claims(subject);
            claims["plan"] = json!(subject);
            let token = identity::token(&claims);
            let body = json!({ "assistant_id": ASSISTANT, "identity_token": token });
            let created = server.request("POST", "/api/conversations").json(&body).send().await;
            let uuid = created.json()["conversation_id"].as_str().unwrap().to_owned();
            let sent = server.post_message(&uuid, "Hi").header("rejoinder-identity", &token).send().await;
            assert_eq!(sent.status, 200, "{}", sent.text());
            server.conversation_id(&uuid).await
        };
        let (own, other) = (create(MARKER).await, create(STAYS).await);
        assert!(!find_marker(&db, MARKER).await.is_empty());
        let key = erasing_key(&server).await;

        let accepted = erase(&server, &key, &json!({ "identity": MARKER })).await;
        let erasure = wait_until_done(&server, &key, &accepted).await;

        assert_eq!(erasure["removed"]["conversations"], 1);
        assert_eq!(find_marker(&db, MARKER).await, Vec::<String>::new());
        assert_eq!(server.get(&format!("/v1/conversations/{own}")).await.status, 404);
        let other = server.get(&format!("/v1/conversations/{other}")).await.json();
        assert_eq!(other["data"]["identity"], STAYS);
    }
);

both_backends!(
    async fn a_failed_turn_that_was_run_again_leaves_nothing(db: TestDb) {
        let server = TestServer::start(&db).await;
        server.tool.script().respond_with(|_| ToolReply::json(&json!({ "of": MARKER })));
        let order = json!({ "order_id": MARKER });
        for _ in 0..2 {
            server.model.script().queue([
                Reply::tool_calls([ToolCall::new("get_order_status", &order)]),
                Reply::error(http::StatusCode::FORBIDDEN, MARKER),
            ]);
        }
        let con = server.store_message(None, "Hi").await;
        let failed = async |turn: &str| {
            let turn = server.get(&format!("/v1/turns/{turn}")).await.json()["data"].clone();
            (turn["state"] == "failed").then_some(())
        };
        let sent = server.enqueue(message(&con, MARKER, true).to_string()).send().await;
        let first = sent.header("rejoinder-turn").unwrap().to_owned();
        wait_for("the turn to fail", async || failed(&first).await).await;
        let retry = server.request("POST", &format!("/v1/turns/{first}/retry")).bearer(&server.keys.full);
        let retried = retry.header("idempotency-key", &format!("{MARKER}-retry")).send().await;
        assert_eq!(retried.status, 200, "{}", retried.text());
        let second = retried.json()["data"]["id"].as_str().unwrap().to_owned();
        wait_for("the second turn to fail", async || failed(&second).await).await;
        let turns = "select count(distinct turn_id) from journal";
        assert_eq!(server.query_number(turns).await, 2, "both have journals");
        let key = erasing_key(&server).await;

        let accepted = delete(&server, &key, &con).await;
        wait_until_done(&server, &key, &accepted).await;

        assert_eq!(server.query_number(turns).await, 0);
        assert_eq!(find_marker(&db, MARKER).await, Vec::<String>::new());
    }
);

both_backends!(
    async fn small_rows_leave_no_copy_where_their_pages_were_split(db: TestDb) {
        let server = TestServer::start(&db).await;
        let mut conversations = Vec::new();
        for _ in 0..8 {
            conversations.push(server.store_message(None, "Hi").await);
        }
        // Rows of several conversations, inserted in turns, so that the pages of a table are split between them.
        for round in 0..40 {
            let send = async |nth, con: &String| {
                let marker = if nth == 3 { MARKER } else { "something else" };
                server.store_message(Some(con), &format!("{marker} {}", "x".repeat(round * 7))).await;
            };
            join_all(conversations.iter().enumerate().map(|(nth, con)| send(nth, con))).await;
        }
        let key = erasing_key(&server).await;

        let accepted = delete(&server, &key, &conversations[3]).await;
        let erasure = wait_until_done(&server, &key, &accepted).await;

        assert_eq!(erasure["removed"]["messages"], 41);
        assert_eq!(find_marker(&db, MARKER).await, Vec::<String>::new());
    }
);

both_backends!(
    async fn a_key_of_another_workspace_erases_nobody_here(db: TestDb) {
        let server = TestServer::start(&db).await;
        create(&server, STAYS, "api").await;
        let other = create_key(&server, "other", &[Scope::Erase]).await;

        let person = json!({ "external_identifier": format!("{STAYS}@example.com") });
        let accepted = erase(&server, &other, &person).await;
        let erasure = wait_until_done(&server, &other, &accepted).await;

        assert_eq!(erasure["removed"]["conversations"], 0);
        let found = server.get(&format!("/v1/conversations?external_identifier={STAYS}@example.com")).await;
        assert_eq!(found.json()["data"]["items"].as_array().unwrap().len(), 1);
    }
);

both_backends!(
    async fn a_booking_of_a_back_end_is_erased_by_its_id(db: TestDb) {
        let server = TestServer::start(&db).await;
        let bookings = format!("{}/bookings", server.calendar().await);
        let book = async |marker: &str, start: &str| {
            let body = json!({
                "start": start, "title": format!("Call {marker}"), "name": marker,
                "email": format!("{marker}@example.com"), "notes": marker,
            });
            let request = server.request("POST", &bookings).bearer(&server.keys.full).json(&body);
            request.header("idempotency-key", &format!("{marker}-book")).send().await
        };
        let booked = book(MARKER, "2026-03-16T14:00").await;
        assert_eq!(booked.status, 200, "{}", booked.text());
        assert_eq!(book(STAYS, "2026-03-18T10:00").await.status, 200);
        let path = format!("{bookings}/{}", booked.json()["data"]["id"].as_str().unwrap());
        assert!(find_marker(&db, MARKER).await.len() > 1);
        let key = erasing_key(&server).await;
        let erase = async |path: &str| server.request("DELETE", path).bearer(&key).send().await;

        assert_eq!(erase(&format!("{bookings}/bkg_00000000000000000000000001")).await.status, 404);
        let erasure = wait_until_done(&server, &key, &erase(&path).await).await;

        assert_eq!(find_marker(&db, MARKER).await, Vec::<String>::new());
        let ids = (&erasure["calendar_id"], &erasure["booking_id"]);
        assert_eq!(ids, (&booked.json()["data"]["calendar_id"], &booked.json()["data"]["id"]));
        assert_eq!((&erasure["removed"]["bookings"], &erasure["conversation_id"]), (&json!(1), &Value::Null));
        let after = server.get(&path).await.json()["data"].clone();
        assert_eq!((&after["state"], &after["title"]), (&json!("cancelled"), &json!("")));
        assert_eq!((after.get("name"), after.get("notes")), (None, None));
        let again = book(MARKER, "2026-03-16T14:00").await;
        assert_eq!(again.status, 404, "a repeated request books nothing: {}", again.text());
        assert_eq!(again.json()["message"], "Booking not found: it was erased.");
        assert_eq!(again.header("rejoinder-error"), Some("booking_not_found"));
        let kept = server.bookings("state=booked").await;
        assert_eq!((kept.len(), &kept[0]["name"]), (1, &json!(STAYS)));
        let audited = format!(
            "select count(*) from audit_log where action = 'deleted' and object_kind = 'booking' and object_id = '{}'",
            after["id"].as_str().unwrap()
        );
        assert_eq!(server.query_number(&audited).await, 1);
    }
);

both_backends!(
    async fn a_conversation_of_a_process_whose_clock_is_ahead_is_found(db: TestDb) {
        let server = TestServer::start(&db).await;
        let mut conversations = Vec::new();
        for (kind, ahead) in [("api", 20), ("widget", 40)] {
            let created = create(&server, STAYS, kind).await;
            assert_eq!(created.status, 200, "{}", created.text());
            let con = created.json()["data"]["id"].as_str().unwrap().to_owned();
            let shift = format!(
                "update conversations set created_at = created_at + {} where kind = '{kind}' \
                 and external_identifier is not null",
                ahead * 1_000_000
            );
            seed::execute(&db, &shift).await;
            conversations.push(con);
        }
        let key = erasing_key(&server).await;

        let person = json!({ "external_identifier": format!("{STAYS}@example.com") });
        let accepted = erase(&server, &key, &person).await;
        wait_until_done(&server, &key, &accepted).await;

        let status = async |con: &str| server.get(&format!("/v1/conversations/{con}")).await.status;
        assert_eq!(status(&conversations[0]).await, 404, "20 s ahead: it began before the request");
        assert_eq!(status(&conversations[1]).await, 200, "40 s later: it began after the request");
    }
);
