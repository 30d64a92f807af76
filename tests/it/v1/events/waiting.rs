//! Long polls: answered at once by an event, and with an empty page after the timeout.

use std::time::{Duration, Instant};

use super::{cursors, head, page, parts};
use crate::support::db::both_backends;
use crate::support::http::Request;
use crate::support::server::{Setup, TestServer};
use crate::support::store;
use crate::support::wait::wait_for;

const LONG: &str = "wait=60";

fn poll(server: &TestServer, query: &str) -> Request {
    server.request("GET", &format!("/v1/events?{query}")).bearer(&server.keys.read_only)
}

async fn followed_by(server: &TestServer, count: usize) {
    let look = async || (server.followers() == count).then_some(());
    wait_for(&format!("{count} readers that follow"), look).await;
}

both_backends!(
    async fn a_waiting_reader_is_answered_at_once_by_a_matching_event(db: TestDb) {
        let server = TestServer::start(&db).await;
        let begun = head(&server).await;
        let query = format!("after={begun}&types=message.created&{LONG}");
        let waiting = tokio::spawn(poll(&server, &query).send());
        followed_by(&server, 1).await;

        let sent = Instant::now();
        server.store_message(None, "Hi").await;
        let (items, next) = parts(&waiting.await.unwrap());

        assert!(sent.elapsed() < Duration::from_secs(10));
        assert_eq!((cursors(&items), next), (vec![begun + 2], (begun + 2).to_string()));
        followed_by(&server, 0).await;
    }
);

both_backends!(
    async fn a_timed_out_wait_returns_an_empty_page_with_an_advanced_cursor(db: TestDb) {
        let server = TestServer::start(&db).await;
        let begun = head(&server).await;
        let query = format!("after={begun}&types=reply.failed&wait=2");
        let waiting = tokio::spawn(poll(&server, &query).send());
        followed_by(&server, 1).await;

        server.store_message(None, "Hi").await;
        let (items, next) = parts(&waiting.await.unwrap());

        assert_eq!((items.len(), next), (0, (begun + 2).to_string()));
    }
);

both_backends!(
    async fn a_disconnected_client_frees_its_follower_slot(db: TestDb) {
        let server = TestServer::start(&db).await;
        let waiting = tokio::spawn(poll(&server, &format!("after=latest&{LONG}")).send());
        followed_by(&server, 1).await;

        waiting.abort();

        followed_by(&server, 0).await;
    }
);

both_backends!(
    async fn a_stop_ends_long_polls_with_their_page(db: TestDb) {
        let server = TestServer::start(&db).await;
        let begun = head(&server).await;
        let waiting = tokio::spawn(poll(&server, &format!("after={begun}&{LONG}")).send());
        followed_by(&server, 1).await;

        let stopped = Instant::now();
        server.stop().await;

        assert!(stopped.elapsed() < Duration::from_secs(10), "the grace is 25 s");
        let (items, next) = parts(&waiting.await.unwrap());
        assert_eq!((items.len(), next), (0, begun.to_string()));
    }
);

both_backends!(
    async fn too_many_followers_are_refused(db: TestDb) {
        let setup = Setup::default().env("REJOINDER_EVENTS__MAX_FOLLOWERS_PER_WORKSPACE", "1");
        let server = setup.start(&db).await;
        let waiting = tokio::spawn(poll(&server, &format!("after=latest&{LONG}")).send());
        followed_by(&server, 1).await;

        for path in ["/v1/events?after=latest&wait=1", "/v1/events/stream"] {
            let refused = server.request("GET", path).bearer(&server.keys.full).send().await;
            assert_eq!((refused.status, refused.header("retry-after")), (429, Some("5")), "{path}");
            assert_eq!(refused.header("rejoinder-error"), Some("overloaded"));
        }
        let foreign =
            server.request("GET", "/v1/events?after=latest&wait=1").bearer(&server.keys.other_workspace);
        assert_eq!(foreign.send().await.status, 200, "each workspace has its own limit");
        assert_eq!(
            page(&server, "after=latest").await.status,
            200,
            "a request without waiting needs no slot"
        );
        waiting.abort();
    }
);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn events_of_another_process_are_seen_soon() {
    let db = store::postgres().await;
    let first = TestServer::start(&db).await;
    let second = first.start_peer(&db, Setup::default()).await;
    let begun = head(&first).await;
    let waiting = tokio::spawn(poll(&first, &format!("after={begun}&{LONG}")).send());
    followed_by(&first, 1).await;

    let sent = Instant::now();
    second.store_message(None, "Hi").await;
    let (items, _) = parts(&waiting.await.unwrap());

    assert!(sent.elapsed() < Duration::from_secs(10));
    assert_eq!(cursors(&items)[0], begun + 1);
}
