//! All messages of a workspace: listed, filtered, searched, and read one by one.

use serde_json::{Value, json};

use crate::support::db::{Backend, TestDb, both_backends};
use crate::support::described;
use crate::support::http::Response;
use crate::support::seed;
use crate::support::server::{Setup, TestServer};
use crate::support::wait::wait_for;

/// A path with a query, whose values are encoded.
fn query(path: &str, parameters: &[(&str, &str)]) -> String {
    let mut query = url::form_urlencoded::Serializer::new(String::new());
    query.extend_pairs(parameters);
    format!("{path}?{}", query.finish())
}

/// The texts of a page, without the first messages of the demo's conversations.
fn texts(page: &Value) -> Vec<&str> {
    let items = page["data"]["items"].as_array().unwrap();
    items.iter().map(|item| item["text"].as_str().unwrap()).filter(|text| *text != "Hello !").collect()
}

async fn search(server: &TestServer, parameters: &[(&str, &str)]) -> Response {
    server.get(&query("/v1/messages", parameters)).await
}

/// Waits until this many messages are listed.
async fn wait_for_index(server: &TestServer, count: usize) {
    let look = async || {
        let page = search(server, &[("limit", "200")]).await.json();
        (texts(&page).len() >= count).then_some(())
    };
    wait_for("the index", look).await;
}

/// Stores a message without a reply, and returns the answer's data.
async fn store(server: &TestServer, fields: Value) -> Value {
    let mut body = json!({ "sender_id": "usr_1", "sender_type": "user", "auto_reply": false });
    body.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
    let sent = server.enqueue(body.to_string()).send().await;
    assert_eq!(sent.status, 200, "{}", sent.text());
    sent.json()["data"].clone()
}

both_backends!(
    async fn a_search_finds_messages_by_their_words_newest_first(db: TestDb) {
        described::check_responses();
        let server = Setup::default().system_clock().start(&db).await;
        for text in ["Where is my order 1042?", "Die Rückgabe der Bestellung", "My ORDER is late", "退货"]
        {
            server.store_message(None, text).await;
        }
        wait_for_index(&server, 4).await;

        for (q, expected) in [
            ("order", vec!["My ORDER is late", "Where is my order 1042?"]),
            ("my order 1042", vec!["Where is my order 1042?"]),
            ("rückgabe", vec!["Die Rückgabe der Bestellung"]),
            ("RUCKGABE", vec!["Die Rückgabe der Bestellung"]),
            ("退货", vec!["退货"]),
            ("orders", vec![]),
        ] {
            let found = search(&server, &[("q", q)]).await;
            assert_eq!((found.status, texts(&found.json())), (200, expected), "{q}");
        }
        let one = search(&server, &[("q", "late")]).await.json()["data"]["items"][0].clone();
        let read = server.get(&format!("/v1/messages/{}", one["id"].as_str().unwrap())).await.json();
        assert_eq!(read["data"], one);
        assert!(one["conversation_id"].as_str().unwrap().starts_with("con_"));
    }
);

both_backends!(
    async fn a_reply_and_a_first_message_are_found_too(db: TestDb) {
        let server = Setup::default().system_clock().start(&db).await;
        let uuid = server.create_conversation().await;
        server.post_message(&uuid, "Hi").send().await;

        wait_for_index(&server, 3).await;

        let of_assistant = search(&server, &[("sender_type", "assistant")]).await.json();
        assert_eq!(texts(&of_assistant).len(), 2, "{of_assistant}");
        let first = search(&server, &[("q", "hello ada")]).await.json();
        assert_eq!(texts(&first), ["Hello Ada!"]);
    }
);

both_backends!(
    async fn filters_narrow_a_list_and_combine(db: TestDb) {
        let server = Setup::default().system_clock().start(&db).await;
        let one = store(&server, json!({ "text": "one", "metadata": { "plan": "pro", "é]": "a&b" } })).await;
        let con = one["conversation_id"].as_str().unwrap().to_owned();
        store(&server, json!({ "text": "two", "conversation_id": con, "sender_id": "usr_2" })).await;
        store(&server, json!({ "text": "three", "sender_type": "agent", "metadata": { "plan": "free" } }))
            .await;
        wait_for_index(&server, 3).await;

        for (parameters, expected) in [
            (vec![], vec!["three", "two", "one"]),
            (vec![("conversation_id", con.as_str())], vec!["two", "one"]),
            (vec![("sender_id", "usr_2")], vec!["two"]),
            (vec![("sender_id", "usr_")], vec![]),
            (vec![("sender_type", "agent")], vec!["three"]),
            (vec![("metadata[plan]", "pro")], vec!["one"]),
            (vec![("metadata[é]]", "a&b"), ("metadata[plan]", "pro"), ("q", "one")], vec!["one"]),
            (vec![("metadata[plan]", "pro"), ("q", "three")], vec![]),
            (
                vec![
                    ("created_after", "2020-01-01T00:00:00Z"),
                    ("created_before", "2120-01-01T00:00:00Z"),
                    ("q", "two"),
                ],
                vec!["two"],
            ),
            (vec![("created_after", "2120-01-01T00:00:00Z")], vec![]),
            (vec![("created_before", "2020-01-01T00:00:00Z")], vec![]),
            (vec![("conversation_id", "con_00000000000000000000000001")], vec![]),
        ] {
            let found = search(&server, &parameters).await;
            assert_eq!((found.status, texts(&found.json())), (200, expected), "{parameters:?}");
        }
    }
);

both_backends!(
    async fn another_workspace_finds_and_reads_nothing(db: TestDb) {
        let server = Setup::default().system_clock().start(&db).await;
        let sent = store(&server, json!({ "text": "secret plans" })).await;
        wait_for_index(&server, 1).await;

        let other = |path: &str| server.request("GET", path).bearer(&server.keys.other_workspace).send();
        for path in ["/v1/messages", "/v1/messages?q=secret", "/v1/messages?sender_id=usr_1"] {
            assert_eq!(texts(&other(path).await.json()), Vec::<&str>::new(), "{path}");
        }
        let id = sent["message"]["id"].as_str().unwrap();
        let read = other(&format!("/v1/messages/{id}")).await;
        let expected = format!(r#"{{"status":"error","message":"Message not found: {id}.","data":null}}"#);
        assert_eq!((read.status, read.text()), (404, &*expected));
        let scope = server.request("GET", "/v1/messages").bearer(&server.keys.export).send().await;
        assert_eq!(scope.status, 403);
    }
);

both_backends!(
    async fn no_text_is_an_operator_of_the_search(db: TestDb) {
        let server = Setup::default().system_clock().start(&db).await;
        store(&server, json!({ "text": "alpha or beta's" })).await;
        wait_for_index(&server, 1).await;

        for (q, count) in [
            ("\" OR *", 1),
            ("'", 0),
            ("alpha* AND NOT", 0),
            ("alpha' | 'gamma", 0),
            ("-alpha", 1),
            ("words:alpha", 0),
            ("NEAR(alpha beta)", 0),
            ("(((", 0),
            ("😀", 0),
            ("!!! ???", 0),
            ("alpha & beta", 1),
            ("%", 0),
        ] {
            let found = search(&server, &[("q", q)]).await;
            assert_eq!((found.status, texts(&found.json()).len()), (200, count), "{q}");
        }
        let longest = "ab ".repeat(333);
        assert_eq!(search(&server, &[("q", &longest)]).await.status, 200);
        for (parameters, text) in [
            (("q", "x".repeat(10_000)), "Field 'q' must not be greater than 1000 characters."),
            (("q", "a\0b".to_owned()), "Field 'q' contains an invalid character."),
            (
                ("sender_type", "bot".to_owned()),
                "Field 'sender_type' must be one of: user, agent, system, assistant.",
            ),
            (
                ("created_after", "yesterday".to_owned()),
                "Field 'created_after' must be a time such as 2026-03-15T14:00:00Z.",
            ),
            (("conversation_id", "x".to_owned()), "Field 'conversation_id' must be an id of the form con_…."),
            (("metadata", "x".to_owned()), "Field 'metadata' must be metadata[KEY]=VALUE, at most 10 times."),
            (("cursor", "x".to_owned()), "Field 'cursor' is not a cursor of this list."),
        ] {
            let refused = search(&server, &[(parameters.0, &parameters.1)]).await;
            assert_eq!((refused.status, &refused.json()["message"]), (400, &json!(text)));
        }
        let unknown = search(&server, &[("sender", "x"), ("metadata[a]", "b")]).await;
        assert_eq!(unknown.status, 400);
        assert!(unknown.text().contains("Unknown query parameter 'sender'."), "{}", unknown.text());
    }
);

both_backends!(
    async fn pages_have_each_message_once_while_others_arrive(db: TestDb) {
        let server = Setup::default().system_clock().start(&db).await;
        let con = server.store_message(None, "message 0").await;
        for number in 1..25 {
            server.store_message(Some(&con), &format!("message {number}")).await;
        }
        wait_for_index(&server, 25).await;

        let mut found = Vec::new();
        let mut cursor: Option<String> = None;
        loop {
            let mut parameters = vec![("q", "message"), ("limit", "7")];
            parameters.extend(cursor.as_deref().map(|cursor| ("cursor", cursor)));
            let page = search(&server, &parameters).await.json();
            found.extend(texts(&page).into_iter().map(str::to_owned));
            server.store_message(Some(&con), "message late").await;
            match page["data"]["next_cursor"].as_str() {
                Some(next) => cursor = Some(next.to_owned()),
                None => break,
            }
        }

        let expected: Vec<String> = (0..25).rev().map(|number| format!("message {number}")).collect();
        assert_eq!(found, expected);
        let of_other_list = server.get("/v1/conversations?limit=1").await.json();
        assert!(
            of_other_list["data"]["next_cursor"].is_string() || of_other_list["data"]["items"].is_array()
        );
    }
);

both_backends!(
    async fn large_messages_share_a_page_within_its_bytes(db: TestDb) {
        let server = Setup::default().system_clock().start(&db).await;
        let text = "é".repeat(10_000);
        let con = server.store_message(None, &text).await;
        for _ in 1..60 {
            server.store_message(Some(&con), &text).await;
        }
        let look = async || {
            let page = search(&server, &[("limit", "200"), ("conversation_id", &con)]).await.json();
            page["data"]["next_cursor"].is_string().then_some(page)
        };
        let page = wait_for("the index", look).await;

        assert_eq!(texts(&page).len(), 52, "of 20,000 bytes each");
        let next = page["data"]["next_cursor"].as_str().unwrap();
        let rest = search(&server, &[("cursor", next)]).await.json();
        assert!(texts(&rest).len() <= 8);
    }
);

both_backends!(
    async fn messages_of_a_stopped_process_are_indexed_after_the_next_start(db: TestDb) {
        let server = Setup::default().system_clock().start(&db).await;
        let con = server.store_message(None, "needle").await;
        let server = server.restart(&db, Setup::default().system_clock()).await;

        let look = async || {
            let found = search(&server, &[("q", "needle")]).await.json();
            Some(found).filter(|found| texts(found).len() == 1)
        };
        let found = wait_for("the message", look).await;

        assert_eq!(found["data"]["items"][0]["conversation_id"], json!(con));
    }
);

/// Empties the index, as if nothing had been indexed yet. The next message that is stored begins it anew.
async fn empty_index(db: &TestDb) {
    seed::execute(db, "delete from message_index; delete from message_index_state").await;
}

both_backends!(
    async fn messages_whose_events_were_removed_before_are_indexed_in_their_order(db: TestDb) {
        let server = Setup::default().system_clock().start(&db).await;
        let con = server.store_message(None, "message 0").await;
        for number in 1..150 {
            let to = Some(&*con).filter(|_| number % 30 > 0);
            server.store_message(to, &format!("message {number}")).await;
        }
        wait_for_index(&server, 150).await;
        seed::execute(&db, "delete from events").await;
        empty_index(&db).await;
        server.store_message(Some(&con), "message 150").await;

        wait_for_index(&server, 151).await;

        let found = search(&server, &[("q", "message"), ("limit", "200")]).await.json();
        let expected: Vec<String> = (0..=150).rev().map(|number| format!("message {number}")).collect();
        assert_eq!(texts(&found), expected);
    }
);

both_backends!(
    async fn a_long_backlog_is_indexed_in_the_order_of_time(db: TestDb) {
        let server = Setup::default().system_clock().start(&db).await;
        let first = server.store_message(None, "message 0").await;
        let second = server.store_message(None, "message 1").await;
        for number in 2..150 {
            let con = if number % 2 == 0 { &first } else { &second };
            server.store_message(Some(con), &format!("message {number}")).await;
        }
        wait_for_index(&server, 150).await;
        // As if they had been sent over minutes.
        let begin = seed::query_number(&db, "select min(created_at) from messages").await;
        let spread = format!("set created_at = created_at + 999 * (created_at - {begin})");
        seed::execute(&db, &format!("update messages {spread}; update events {spread}")).await;
        empty_index(&db).await;
        server.store_message(None, "other").await;

        let look = async || {
            let page = search(&server, &[("q", "message"), ("limit", "200")]).await.json();
            Some(page).filter(|page| texts(page).len() == 150)
        };
        let found = wait_for("the index", look).await;

        let expected: Vec<String> = (0..150).rev().map(|number| format!("message {number}")).collect();
        assert_eq!(texts(&found), expected);
    }
);

both_backends!(
    async fn a_message_that_the_index_rejects_is_left_out_alone(db: TestDb) {
        let server = Setup::default().system_clock().start(&db).await;
        let con = server.store_message(None, "one").await;
        wait_for_index(&server, 1).await;
        let position = seed::query_number(&db, "select max(position) from messages where text = 'one'").await;
        let rejected = position + 1;
        let trigger = match db.backend() {
            Backend::Postgres => format!(
                "create function reject() returns trigger language plpgsql as \
                 $$ begin raise exception 'rejected' using errcode = '23514'; end $$; \
                 create trigger reject before insert on message_index for each row \
                 when (new.position = {rejected}) execute function reject()"
            ),
            Backend::Sqlite => format!(
                "create trigger reject before insert on message_index when new.position = {rejected} \
                 begin select raise(abort, 'rejected'); end"
            ),
        };
        seed::execute(&db, &trigger).await;

        for text in ["rejected", "three"] {
            server.store_message(Some(&con), text).await;
        }
        server.store_message(None, "other").await;
        wait_for_index(&server, 3).await;

        let found = search(&server, &[("limit", "200")]).await.json();
        assert_eq!(texts(&found), ["other", "three", "one"]);
    }
);
