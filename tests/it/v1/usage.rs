//! `GET /v1/usage`.

use serde_json::{Value, json};

use crate::support::db::both_backends;
use crate::support::described;
use crate::support::server::{Setup, TestServer, WIDGET};

const USAGE: &str = "/v1/usage?start=2026-03-15";

async fn items(server: &TestServer, path: &str) -> Vec<Value> {
    let answer = server.get(path).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    answer.json()["data"]["items"].as_array().unwrap().clone()
}

async fn one(server: &TestServer, path: &str) -> Value {
    let items = items(server, path).await;
    assert_eq!(items.len(), 1, "{items:?}");
    items[0].clone()
}

both_backends!(
    async fn messages_and_turns_are_counted_at_once(db: TestDb) {
        described::check_responses();
        let server = TestServer::start(&db).await;
        let before = one(&server, USAGE).await;
        assert_eq!(
            (&before["start"], &before["end"]),
            (&json!("2026-03-15T00:00:00Z"), &json!("2026-03-15T14:30:00Z"))
        );
        assert_eq!((&before["credits"], &before["turns_completed"]), (&json!("10.00"), &json!(0)));

        assert_eq!(server.post_message(WIDGET, "Hello").send().await.status, 200);
        let con = server.store_message(None, "A note").await;
        let message = json!({"conversation_id": con, "sender_id": "u", "sender_type": "user", "text": "Hi"});
        assert_eq!(server.enqueue(message.to_string()).send().await.status, 200);
        server.wait_for_messages(&con, 3).await;

        let after = one(&server, USAGE).await;
        let ledger = server.get("/v1/ledger?limit=200").await.json();
        let charges =
            ledger["data"]["items"].as_array().unwrap().iter().filter(|row| row["kind"] == "charge");
        let more = |name: &str| after[name].as_i64().unwrap() - before[name].as_i64().unwrap();
        assert_eq!((more("messages"), more("turns_completed"), more("model_calls")), (5, 2, 2));
        assert!(more("input_tokens") > 0 && more("output_tokens") > 0, "{after}");
        assert_eq!(charges.count(), 1, "a turn of type `api` is free");
        assert_eq!(
            (&after["charged"], &after["refunded"], &after["net"]),
            (&json!("0.01"), &json!("0.00"), &json!("0.01"))
        );
        let by_key = items(&server, &format!("{USAGE}&group_by=key")).await;
        let of_keys: Vec<_> = by_key.iter().filter(|row| row.get("key_id").is_some()).collect();
        assert_eq!(of_keys.len(), 1, "the widget was used without a key: {by_key:?}");
        assert_eq!(of_keys[0]["turns_completed"], 1);
    }
);

both_backends!(
    async fn figures_are_grouped_and_paged(db: TestDb) {
        let server = TestServer::start(&db).await;
        assert_eq!(server.post_message(WIDGET, "Hello").send().await.status, 200);
        let path = format!("{USAGE}&bucket=none&group_by=assistant,model");

        let all = items(&server, &path).await;
        let mut paged = Vec::new();
        let mut cursor = String::new();
        loop {
            let page = server.get(&format!("{path}&limit=1{cursor}")).await.json()["data"].clone();
            paged.extend(page["items"].as_array().unwrap().clone());
            match page["next_cursor"].as_str() {
                Some(next) => cursor = format!("&cursor={next}"),
                None => break,
            }
        }

        assert_eq!(paged, all);
        let of_model: Vec<_> = all.iter().filter(|row| row["model"] == "fake").collect();
        assert_eq!(of_model.len(), 1, "{all:?}");
        assert_eq!((&of_model[0]["connection"], &of_model[0]["model_calls"]), (&json!("default"), &json!(1)));
        assert_eq!(of_model[0]["messages"], 0, "messages belong to no model");
        assert!(of_model[0]["assistant_id"].as_str().unwrap().starts_with("ast_"));
        assert!(of_model[0].get("key_id").is_none(), "not grouped by it");
    }
);

both_backends!(
    async fn usage_is_read_as_csv(db: TestDb) {
        let server = TestServer::start(&db).await;
        assert_eq!(server.post_message(WIDGET, "Hello").send().await.status, 200);

        let request = server.request("GET", &format!("{USAGE}&group_by=model")).bearer(&server.keys.full);
        let csv = request.header("accept", "text/csv").send().await;

        assert_eq!(csv.header("content-type"), Some("text/csv; charset=utf-8"));
        let lines: Vec<_> = csv.text().split_terminator("\r\n").collect();
        assert!(lines[0].starts_with("start,end,workspace_id,"), "{lines:?}");
        assert!(lines[0].ends_with(",charged,refunded,net,credits"), "{lines:?}");
        assert!(lines.iter().any(|line| line.contains(",\"default\",\"fake\",")), "{lines:?}");
        let columns = lines[0].split(',').count();
        assert!(lines.iter().all(|line| line.split(',').count() == columns), "{lines:?}");
    }
);

both_backends!(
    async fn others_see_nothing_and_the_scope_is_required(db: TestDb) {
        let server = TestServer::start(&db).await;
        assert_eq!(server.post_message(WIDGET, "Hello").send().await.status, 200);
        let read = async |key: &str| server.request("GET", USAGE).bearer(key).send().await;

        let other = read(&server.keys.other_workspace).await.json();
        let read_only = read(&server.keys.read_only).await;

        assert_eq!(other["data"]["items"][0]["messages"], 0);
        assert_eq!(other["data"]["items"][0]["credits"], "1.00");
        assert_eq!((read_only.status, read_only.header("rejoinder-error")), (403, Some("missing_scope")));
    }
);

both_backends!(
    async fn each_parameter_is_checked(db: TestDb) {
        let server = TestServer::start(&db).await;

        for (query, text) in [
            ("", "Field 'start' is required."),
            (
                "start=yesterday",
                "Field 'start' must be a date such as 2026-03-15, or a time on a quarter of an hour such as \
                    2026-03-15T14:15:00Z.",
            ),
            (
                "start=2026-03-15&end=2026-03-16T00:00:01Z",
                "Field 'end' must be a date such as 2026-03-15, or a time on a quarter of an hour such as \
                    2026-03-15T14:15:00Z.",
            ),
            ("start=2026-03-16", "Field 'end' must be later than 'start'."),
            ("start=2026-03-15&bucket=week", "Field 'bucket' must be one of: hour, day, month, none."),
            (
                "start=2026-03-15&group_by=assistant,color",
                "Field 'group_by' must be a list of: workspace, assistant, model, key.",
            ),
            (
                "start=2026-03-15&time_zone=Mars/Olympus",
                "Field 'time_zone' must be the name of a time zone, such as Europe/Berlin.",
            ),
            (
                "start=2020-01-01&bucket=hour",
                "The period has more than 10000 buckets. Query a shorter period, or larger buckets with 'bucket'.",
            ),
            ("start=2026-03-15&limit=0", "Field 'limit' must be a number from 1 to 200."),
            ("start=2026-03-15&cursor=x", "Field 'cursor' is not a cursor of this list."),
        ] {
            let answer = server.get(&format!("/v1/usage?{query}")).await;
            assert_eq!(answer.status, 400, "{query}: {}", answer.text());
            assert_eq!(answer.json()["message"], text, "{query}");
        }
    }
);

both_backends!(
    async fn usage_outlives_its_events(db: TestDb) {
        let setup = Setup::default().env("REJOINDER_EVENTS__RETENTION", "1d");
        let server = setup.start(&db).await;
        assert_eq!(server.post_message(WIDGET, "Hello").send().await.status, 200);
        let day = "/v1/usage?start=2026-03-15&end=2026-03-16";

        // Nothing has asked for the usage yet: what removes events counts them first.
        server.advance_clock(&db, std::time::Duration::from_hours(72)).await;
        server.worker().remove_old_events().await.unwrap();
        let events = server.query_number("select count(*) from events").await;

        assert_eq!(events, 0);
        assert_eq!(one(&server, day).await["turns_completed"], 1);
    }
);
