//! Requests beyond the capacity of a server are refused at once and change nothing.

use futures::StreamExt as _;
use futures::stream;
use serde_json::json;

use crate::support::db::both_backends;
use crate::support::fake_model::{ModelRequest, Reply};
use crate::support::http::Response;
use crate::support::script::Gate;
use crate::support::server::{Setup, TEST, TestServer, WIDGET};
use crate::support::store;
use crate::support::wait::wait_for;

fn platform(text: &str) -> String {
    json!({ "sender_id": "u", "sender_type": "user", "text": text }).to_string()
}

/// The model answers this text when the gate opens.
fn hold(server: &TestServer, text: &'static str) -> Gate {
    let gate = Gate::closed();
    let reply_gate = gate.clone();
    server.model.script().respond_with(move |request: &ModelRequest| {
        let reply = Reply::text("Yes.");
        if request.prompt().is_some_and(|prompt| prompt == text) {
            reply.gated_by(&reply_gate)
        } else {
            reply
        }
    });
    gate
}

fn assert_refused(answer: &Response, status: u16) {
    assert_eq!(answer.status, status, "{}", answer.text());
    assert_eq!(answer.header("rejoinder-error"), Some("overloaded"));
    assert!(answer.header("retry-after").is_some());
}

both_backends!(
    async fn a_busy_conversation_sends_retry_after(db: TestDb) {
        let server = Setup::default().env("REJOINDER_TURN__MAX_OPEN_PER_CONVERSATION", "1").start(&db).await;
        let gate = hold(&server, "held");

        let (blocked, busy) = tokio::join!(server.post_message(TEST, "held").send(), async {
            server.model.calls().wait_for_count(1).await;
            let busy = server.post_message(TEST, "one more").send().await;
            gate.open();
            busy
        });

        assert_eq!((blocked.status, busy.status), (200, 400));
        assert_eq!(busy.header("rejoinder-error"), Some("conversation_busy"));
        assert_eq!(busy.header("retry-after"), Some("1"));
    }
);

both_backends!(
    async fn a_workspace_with_too_many_open_turns_is_refused_by_both_apis(db: TestDb) {
        let server = Setup::default().env("REJOINDER_TURN__MAX_OPEN", "1").start(&db).await;
        let gate = hold(&server, "held");
        let blocked = server.enqueue(platform("held")).send().await;
        assert_eq!(blocked.status, 200);
        let before = server.row_counts().await;

        let widget = server.post_message(WIDGET, "Hi").send().await;
        let enqueued = server.enqueue(platform("Hi")).send().await;

        assert_refused(&widget, 503);
        assert_refused(&enqueued, 429);
        assert_eq!(server.row_counts().await, before);
        gate.open();
        server.wait_for_events("message.created", 2).await;
        assert_eq!(server.post_message(WIDGET, "Hi").send().await.status, 200);
    }
);

both_backends!(
    async fn too_many_waiting_clients_are_refused_before_storing(db: TestDb) {
        let server = Setup::default().env("REJOINDER_WIDGET__MAX_WAITING", "1").start(&db).await;
        let gate = hold(&server, "held");

        let (blocked, refused) = tokio::join!(server.post_message(TEST, "held").send(), async {
            server.model.calls().wait_for_count(1).await;
            let before = server.row_counts().await;
            let refused = server.post_message(WIDGET, "Hi").send().await;
            assert_eq!(server.row_counts().await, before);
            gate.open();
            refused
        });

        assert_eq!(blocked.status, 200);
        assert_refused(&refused, 503);
        assert_eq!(server.balance().await, "10.00");
    }
);

both_backends!(
    async fn a_workspace_uses_at_most_its_own_slots(db: TestDb) {
        let server = Setup::default()
            .env("REJOINDER_TURN__MAX_IN_FLIGHT_PER_WORKSPACE", "2")
            .system_clock()
            .start(&db)
            .await;
        let gate = hold(&server, "held");
        for _ in 0..5 {
            assert_eq!(server.enqueue(platform("held")).send().await.status, 200);
        }
        server.model.calls().wait_for_count(2).await;

        let count = async |state: &str| {
            server.query_number(&format!("select count(*) from turns where state = '{state}'")).await
        };
        // Claims go on meanwhile, and skip turns without a free slot.
        let settled = async || ((count("running").await, count("queued").await) == (2, 3)).then_some(());
        wait_for("two to run and three to wait", settled).await;
        assert_eq!(server.model.calls().all().len(), 2);
        let never_started = "select count(*) from turns where state = 'queued' and first_started_at is null";
        assert_eq!(server.query_number(never_started).await, 3, "they have not started");

        gate.open();
        server.wait_for_events("message.created", 10).await;
        assert_eq!(server.model.calls().all().len(), 5);
    }
);

/// Posts messages of 2 KB, each in its own conversation, and returns the number of refused ones.
async fn burst(server: &TestServer, messages: usize) -> usize {
    let text = "x".repeat(2_000);
    let posts = stream::iter(0..messages).map(|_| server.enqueue(platform(&text)).send());
    let refused = async |refused, answer: Response| refused + usize::from(answer.status != 200);
    posts.buffer_unordered(256).fold(0, refused).await
}

/// A long burst while the model does not answer: every message is stored, and none stays in memory.
#[ignore = "takes a minute"]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_burst_of_messages_is_queued_in_the_database() {
    let db = store::sqlite().await;
    let server = Setup::default().env("REJOINDER_TURN__MAX_IN_FLIGHT", "64").system_clock().start(&db).await;
    let never = Gate::closed();
    server.model.script().respond_with(move |_| Reply::text("Never.").gated_by(&never));

    // Warms up the allocator and the statement caches.
    let refused_before = burst(&server, 20_000).await;
    let before = resident();
    let refused = burst(&server, 20_000).await;
    let after = resident();

    assert_eq!((refused_before, refused), (0, 0));
    // In KiB: less than half of the size of the texts.
    assert!(after < before + 20 * 1024, "{before} KiB before, {after} KiB after");
    assert_eq!(
        server.query_number("select open_turns from workspace_state order by 1 desc limit 1").await,
        40_000
    );
}

/// The resident memory of this process, in KiB.
fn resident() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").expect("a system with /proc");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("a size");
    line.trim().trim_end_matches(" kB").parse().expect("a number")
}
