//! Pages of the feed: cursors, filters, and invalid queries.

use serde_json::json;

use super::{cursors, head, page, parts};
use crate::support::db::both_backends;
use crate::support::seed;
use crate::support::server::{Setup, TestServer};

both_backends!(
    async fn a_page_is_filtered_by_types_and_conversation(db: TestDb) {
        let server = TestServer::start(&db).await;
        let begun = head(&server).await;
        let first = server.store_message(None, "one").await;
        let second = server.store_message(None, "two").await;
        server.store_message(Some(&first), "three").await;
        // The events: created, message; created, message; message.
        let end = (begun + 5).to_string();

        let (created, next) =
            parts(&page(&server, &format!("after={begun}&types=conversation.created")).await);
        assert_eq!((cursors(&created), &next), (vec![begun + 1, begun + 3], &end));
        let (of_first, next) = parts(&page(&server, &format!("after={begun}&conversation_id={first}")).await);
        assert_eq!((cursors(&of_first), &next), (vec![begun + 1, begun + 2, begun + 5], &end));
        let both = format!("after={begun}&conversation_id={second}&types=message.created,reply.failed");
        assert_eq!(cursors(&parts(&page(&server, &both).await).0), [begun + 4]);
        let (none, next) = parts(&page(&server, "types=reply.discarded,reply.failed").await);
        assert_eq!((none, &next), (Vec::new(), &end), "filtered events are not read again");
    }
);

both_backends!(
    async fn a_filtered_page_ends_at_its_limit_and_continues_there(db: TestDb) {
        let server = TestServer::start(&db).await;
        let begun = head(&server).await;
        let con = server.store_message(None, "0").await;
        for text in ["1", "2", "3"] {
            server.store_message(Some(&con), text).await;
        }

        let (mut collected, mut after) = (Vec::new(), begun.to_string());
        for _ in 0..3 {
            let query = format!("after={after}&limit=2&types=message.created,conversation.created");
            let (items, next) = parts(&page(&server, &query).await);
            assert!(items.len() <= 2);
            collected.extend(cursors(&items));
            after = next;
        }

        assert_eq!(collected, (begun + 1..=begun + 5).collect::<Vec<_>>());
    }
);

both_backends!(
    async fn after_accepts_an_event_id_and_latest(db: TestDb) {
        let server = TestServer::start(&db).await;
        let con = server.store_message(None, "one").await;
        server.store_message(Some(&con), "two").await;
        let (items, _) = parts(&page(&server, "").await);
        let last = items.len() - 1;

        let id = items[last - 1]["id"].as_str().unwrap();
        let (after_it, _) = parts(&page(&server, &format!("after={id}")).await);
        let (none, next) = parts(&page(&server, "after=latest").await);

        assert_eq!(after_it, items[last..]);
        assert_eq!((none.len(), next), (0, items[last]["cursor"].as_str().unwrap().to_owned()));
    }
);

both_backends!(
    async fn an_invalid_query_names_its_field(db: TestDb) {
        let server = TestServer::start(&db).await;
        let types = "Field 'types' must be a list of: conversation.created, conversation.updated, \
            conversation.ended, conversation.deleted, message.created, message.feedback, reply.failed, \
            reply.discarded, balance.low, webhook_endpoint.disabled, webhook_endpoint.test.";
        let message = "Field 'after' must be a cursor of this list, the id of an event, or 'latest'.";
        let nothing = "Field 'after' names no event of this feed.";
        let (_, latest) = parts(&page(&server, "after=latest").await);
        let ahead = format!("Field 'after' is ahead of this workspace's log: its newest cursor is {latest}.");

        for (query, text) in [
            ("types=message.sent", types),
            ("types=", types),
            ("after=x", message),
            ("after=-1", message),
            ("after=", message),
            ("wait=61", "Field 'wait' must be a number of seconds from 0 to 60."),
            ("wait=x", "Field 'wait' must be a number of seconds from 0 to 60."),
            ("limit=201", "Field 'limit' must be a number from 1 to 200."),
            ("after=1&after=2", "Query parameter 'after' may be given only once."),
        ] {
            let answer = page(&server, query).await;
            assert_eq!((answer.status, &answer.json()["message"]), (400, &json!(text)), "{query}");
            assert_eq!(answer.header("rejoinder-error"), Some("invalid_request"));
        }
        for (query, text) in
            [("after=1000000", ahead.as_str()), ("after=evt_01k9z3x8f5e4r9t2m6q7w8y0ab", nothing)]
        {
            let answer = page(&server, query).await;
            assert_eq!((answer.status, &answer.json()["message"]), (409, &json!(text)), "{query}");
            assert_eq!(answer.header("rejoinder-error"), Some("conflict"));
        }
        let unknown = page(&server, "conversation_id=con_9s2kd81").await;
        assert_eq!(
            unknown.text(),
            r#"{"status":"error","message":"Conversation not found: con_9s2kd81.","data":null}"#
        );
    }
);

both_backends!(
    async fn a_tenant_never_sees_events_of_another_with_equal_ids(db: TestDb) {
        let server = TestServer::start(&db).await;
        let con = server.store_message(None, "ours").await;
        let (ours, next) = parts(&page(&server, "").await);
        let foreign = async |query: &str| {
            let path = format!("/v1/events?{query}");
            server.request("GET", &path).bearer(&server.keys.other_workspace).send().await
        };

        assert_eq!(foreign(&format!("conversation_id={con}")).await.status, 404);
        let id = ours[1]["id"].as_str().unwrap();
        assert_eq!(foreign(&format!("after={id}")).await.status, 409);
        assert_eq!(foreign(&format!("after={next}")).await.status, 409);
        // The other workspace gets events with equal ids.
        seed::execute(
            &db,
            "insert into events select w.id, e.cursor, e.id, e.type, null, '{\"theirs\":true}', e.created_at \
             from events e, workspaces w where w.slug = 'other';
             update workspace_state set next_cursor = (select max(cursor) + 1 from events)",
        )
        .await;

        let (theirs, _) = parts(&foreign(&format!("after={id}")).await);
        assert_eq!(theirs.len(), ours.len() - 2);
        assert!(theirs.iter().all(|event| event["theirs"] == true));
        assert_eq!(parts(&page(&server, "").await).0, ours);
    }
);

both_backends!(
    async fn data_of_a_deleted_conversation_is_not_returned(db: TestDb) {
        let server = Setup::default().start(&db).await;
        let begun = head(&server).await;
        let gone = server.store_message(None, "secret").await;
        server.store_message(None, "stays").await;
        seed::execute(
            &db,
            &format!(
                "update conversations set deleted_at = 1 where id = (select conversation_id from events \
                 where cursor = {});
                 update events set type = 'conversation.deleted' where cursor = {}",
                begun + 1,
                begun + 2
            ),
        )
        .await;

        let page = page(&server, &format!("after={begun}")).await;
        let (items, _) = parts(&page);

        assert!(!page.text().contains("secret"), "{}", page.text());
        assert_eq!((&items[0]["type"], items[0].get("data")), (&json!("conversation.created"), None));
        assert_eq!(items[1]["data"], json!({ "conversation_id": gone }));
        assert_eq!(items[3]["data"]["message"]["text"], "stays");
    }
);
