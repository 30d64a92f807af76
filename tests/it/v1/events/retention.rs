//! Retention of the feed, and the error for a reader that is too late.

use std::fmt::Write as _;

use rejoinder::domain::ids::EventId;
use serde_json::json;
use uuid::Uuid;

use super::{cursors, head, page, parts};
use crate::support::db::{TestDb, both_backends};
use crate::support::seed;
use crate::support::server::TestServer;

/// Makes the events up to a cursor older than the retention.
async fn age(db: &TestDb, up_to: i64) {
    seed::execute(db, &format!("update events set created_at = 0 where cursor <= {up_to}")).await;
}

both_backends!(
    async fn removed_events_are_a_410_with_the_oldest_cursor(db: TestDb) {
        let server = TestServer::start(&db).await;
        server.store_message(None, "Hi").await;
        let (before, _) = parts(&page(&server, "").await);
        age(&db, 2).await;

        server.worker().remove_old_events().await.unwrap();

        assert_eq!(server.query_number("select count(*) from events where cursor <= 2").await, 0);
        let (after, _) = parts(&page(&server, "").await);
        assert_eq!(after, before[2..]);
        assert_eq!(parts(&page(&server, "after=2").await).0, after, "no event was missed");
        let text = "The events after this cursor are kept no longer. The oldest that is kept follows after=2, \
            or without 'after'.";
        let removed = before[0]["id"].as_str().unwrap();
        for late in ["after=0", "after=1", &format!("after={removed}"), "after=1&wait=60&types=reply.failed"]
        {
            let answer = page(&server, late).await;
            assert_eq!((answer.status, &answer.json()["message"]), (410, &json!(text)), "{late}");
            assert_eq!(answer.header("rejoinder-error"), Some("cursor_expired"));
            assert_eq!(answer.header("rejoinder-resume"), Some("2"));
        }
        let resumed = server.request("GET", "/v1/events/stream").bearer(&server.keys.full);
        assert_eq!(resumed.header("last-event-id", "1").send().await.status, 410);
        let never = EventId(Uuid::new_v4());
        assert_eq!(page(&server, &format!("after={never}")).await.status, 409);
    }
);

both_backends!(
    async fn an_empty_feed_differs_from_an_expired_one(db: TestDb) {
        let server = TestServer::start(&db).await;
        let empty =
            server.request("GET", "/v1/events?after=0").bearer(&server.keys.other_workspace).send().await;
        assert_eq!(parts(&empty), (Vec::new(), "0".to_owned()));
        let last = head(&server).await;
        age(&db, last).await;

        server.worker().remove_old_events().await.unwrap();

        assert_eq!(parts(&page(&server, "").await), (Vec::new(), last.to_string()));
        assert_eq!(page(&server, "after=0").await.status, 410);
        server.store_message(None, "goes on").await;
        assert_eq!(cursors(&parts(&page(&server, "").await).0), [last + 1, last + 2]);
    }
);

both_backends!(
    async fn events_are_removed_in_small_steps_during_writes(db: TestDb) {
        let server = TestServer::start(&db).await;
        let con = server.store_message(None, "Hi").await;
        let many = "with recursive n (i) as (select 1 union all select i + 1 from n where i < 600) \
            insert into events select e.workspace_id, e.cursor + i, @ID@, e.type, e.conversation_id, e.body, 0 \
            from events e, n where e.cursor = (select max(cursor) from events);
            update workspace_state set next_cursor = (select max(cursor) + 1 from events) where next_cursor > 1";
        let id = seed::random_id(&db);
        seed::execute(&db, &many.replace("@ID@", id)).await;
        let last = head(&server).await;
        age(&db, last).await;

        let (removed, ()) = tokio::join!(server.worker().remove_old_events(), async {
            server.store_message(Some(&con), "while they go").await;
        });
        removed.unwrap();

        assert_eq!(server.query_number("select count(*) from events").await, 1);
        assert_eq!(cursors(&parts(&page(&server, "").await).0), [last + 1]);
    }
);

both_backends!(
    async fn an_undelivered_event_and_its_successors_stay(db: TestDb) {
        let server = TestServer::start(&db).await;
        server.store_message(None, "Hi").await;
        let [on, off] = [1, 2].map(|id| seed::literal(&db, Uuid::from_u128(id)));
        // No delivery shall be sent.
        let never = i64::MAX;
        let mut rows = String::new();
        for (endpoint, enabled) in [(&on, "true"), (&off, "false")] {
            write!(
                rows,
                "insert into webhook_endpoints (workspace_id, id, url, types, secret, enabled, from_file, created_at, updated_at) \
                 select id, {endpoint}, 'http://127.0.0.1', '', '', {enabled}, false, 0, 0 from workspaces where slug = 'demo';"
            )
            .unwrap();
        }
        for (endpoint, cursor, ended) in [(&on, 1, "1"), (&on, 2, "null"), (&off, 1, "null")] {
            let id = seed::literal(&db, Uuid::new_v4());
            write!(
                rows,
                "insert into deliveries (workspace_id, endpoint_id, cursor, id, state, fence, attempts, attempts_before, replay, not_before, created_at, ended_at) \
                 select id, {endpoint}, {cursor}, {id}, 'queued', 0, 0, 0, false, {never}, 0, {ended} from workspaces where slug = 'demo';
                 insert into attempts (workspace_id, endpoint_id, cursor, number, started_at) \
                 select id, {endpoint}, {cursor}, 1, 0 from workspaces where slug = 'demo';"
            )
            .unwrap();
        }
        seed::configure(&db, &rows).await;
        age(&db, 3).await;

        server.worker().remove_old_events().await.unwrap();
        let left = async |table: &'static str| {
            server.query_number(&format!("select coalesce(min(cursor), 0) from {table}")).await
        };
        assert_eq!((left("events").await, left("deliveries").await, left("attempts").await), (2, 2, 2));

        seed::execute(&db, "update deliveries set ended_at = 1").await;
        server.worker().remove_old_events().await.unwrap();
        assert_eq!((left("events").await, left("deliveries").await, left("attempts").await), (4, 0, 0));
    }
);
