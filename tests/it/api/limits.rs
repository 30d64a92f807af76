//! The limits of the widget API. Those of keys on the platform API are in `v1::limits`.

use std::time::Duration;

use http::StatusCode;
use rejoinder::domain::account::Scope;
use rejoinder::store::{Tenant, integrity};
use serde_json::json;

use crate::support::db::both_backends;
use crate::support::fake_model::Reply;
use crate::support::http::Request;
use crate::support::server::{ASSISTANT, Setup, TEST, TestServer, WIDGET};
use crate::support::{seed, store};
use crate::v1::keys;

const HELLO: &str = r#"{"message": "Hi"}"#;

both_backends!(
    async fn messages_are_limited_by_conversation(db: TestDb) {
        let server = Setup::default()
            .with_limits()
            .env("REJOINDER_LIMITS__PER_CONVERSATION", "2/min")
            .start(&db)
            .await;
        let uuid = server.create_conversation().await;

        let first = server.post_message_body(&uuid, HELLO).send().await;
        let second = server.post_message_body(&uuid, "{}").send().await;
        let third = server.post_message_body(&uuid, HELLO).send().await;
        let keyed = server.post_message_body(&uuid, HELLO).bearer(&server.keys.full).send().await;

        assert_eq!(first.header("x-ratelimit-limit"), Some("2"));
        assert_eq!(first.header("x-ratelimit-remaining"), Some("1"));
        assert_eq!(first.header("ratelimit"), Some(r#""conversation";r=1;t=30"#));
        assert_eq!(first.header("ratelimit-policy"), Some(r#""conversation";q=2;w=60"#));
        assert_eq!((second.status, second.header("x-ratelimit-remaining")), (422, Some("0")));
        assert_eq!(third.status, 429);
        let wait = third.header("retry-after").unwrap();
        assert_eq!(third.text(), format!(r#"{{"message":"Too Many Attempts.","retry_after":{wait}}}"#));
        assert_eq!(third.header("rejoinder-error"), Some("limit_reached"));
        assert_eq!(keyed.status, 429);
        let other = server.create_conversation().await;
        assert_eq!(server.post_message_body(&other, HELLO).send().await.status, 200);
    }
);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_without_a_key_are_limited_by_address() {
    let db = store::sqlite().await;
    let server = Setup::default()
        .with_limits()
        .env("REJOINDER_LIMITS__PER_ADDRESS", "2/min")
        .env("REJOINDER_LIMITS__TRUSTED_PROXIES", "127.0.0.1")
        .start(&db)
        .await;
    let ask = |client: &str| server.request("GET", "/api/conversations/x").header("X-Forwarded-For", client);

    assert_eq!(ask("203.0.113.7").send().await.status, 404);
    assert_eq!(ask("6.6.6.6, 203.0.113.7").send().await.status, 404);
    assert_eq!(ask("6.6.6.7, 203.0.113.7").send().await.status, 429);
    assert_eq!(ask("203.0.113.7").bearer(&server.keys.full).send().await.status, 404);
    assert_eq!(ask("203.0.113.8").send().await.status, 404);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_is_not_a_trusted_proxy_cannot_name_its_address() {
    let db = store::sqlite().await;
    let server = Setup::default()
        .with_limits()
        .env("REJOINDER_LIMITS__PER_ADDRESS", "1/min")
        .env("REJOINDER_LIMITS__TRUSTED_PROXIES", "10.0.0.0/8")
        .start(&db)
        .await;
    let ask = |client: &str| server.request("GET", "/api/conversations/x").header("X-Forwarded-For", client);

    assert_eq!(ask("203.0.113.7").send().await.status, 404);
    assert_eq!(ask("203.0.113.8").send().await.status, 429);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_networks_of_one_ipv6_owner_are_limited_together() {
    let db = store::sqlite().await;
    let server = Setup::default()
        .with_limits()
        .env("REJOINDER_LIMITS__PER_ADDRESS", "2/hour")
        .env("REJOINDER_LIMITS__TRUSTED_PROXIES", "127.0.0.1")
        .start(&db)
        .await;
    let ask = async |client: String| {
        server.request("GET", "/api/conversations/x").header("X-Forwarded-For", &client).send().await
    };

    for network in 0..32 {
        let answer = ask(format!("2001:db8:1:{network:x}00::1")).await;
        assert_eq!(answer.status, 404, "{network}");
    }
    let refused = ask("2001:db8:1:ff00::1".to_owned()).await;
    assert_eq!(refused.status, 429);
    assert_eq!(refused.header("ratelimit-policy"), Some(r#""address-48";q=32;w=3600"#));
    assert_eq!(ask("2001:db8:2::1".to_owned()).await.status, 404);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_with_a_key_are_limited_by_key_and_not_by_address() {
    let db = store::sqlite().await;
    let server = Setup::default()
        .with_limits()
        .env("REJOINDER_LIMITS__PER_ADDRESS", "1/hour")
        .env("REJOINDER_LIMITS__PER_KEY", "2/hour")
        .start(&db)
        .await;
    let ask = async || server.request("GET", "/api/conversations/x").bearer(&server.keys.full).send().await;

    let first = ask().await;
    assert_eq!((first.status, first.header("ratelimit-policy")), (404, Some(r#""key";q=2;w=3600"#)));
    assert_eq!(ask().await.status, 404);
    let third = ask().await;
    assert_eq!((third.status, third.header("rejoinder-error")), (429, Some("limit_reached")));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_a_key_that_may_read_lifts_the_limit_of_streams() {
    let db = store::sqlite().await;
    let server =
        Setup::default().with_limits().env("REJOINDER_LIMITS__STREAMS_PER_ADDRESS", "1").start(&db).await;
    let (writing, _) = keys::create(&server, &[Scope::MessagesWrite]).await;
    let (reading, _) = keys::create(&server, &[Scope::Read]).await;
    let follow = || server.request("GET", &format!("/api/conversations/{WIDGET}/events"));
    let first = follow().bearer(&writing).stream().await;

    let second = follow().bearer(&writing).send().await;
    let with_scope = follow().bearer(&reading).stream().await;

    assert_eq!((first.status, with_scope.status), (200, 200));
    assert_eq!((second.status, second.header("rejoinder-error")), (429, Some("limit_reached")));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn new_conversations_have_a_separate_limit_by_address() {
    let db = store::sqlite().await;
    let server = Setup::default()
        .with_limits()
        .env("REJOINDER_LIMITS__NEW_CONVERSATIONS_PER_ADDRESS", "1/min")
        .start(&db)
        .await;
    let uuid = server.create_conversation().await;

    let again = server.request("POST", "/api/conversations").body("{}").send().await;

    assert_eq!(again.status, 429);
    assert_eq!(
        again.header("ratelimit").map(|text| text.starts_with("\"new-conversations\";r=0")),
        Some(true)
    );
    assert_eq!(server.post_message_body(&uuid, HELLO).send().await.status, 200);
    assert_eq!(server.request("GET", "/v1/balance").bearer(&server.keys.full).send().await.status, 200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn disabled_limits_limit_nothing() {
    let db = store::sqlite().await;
    let server = Setup::default().env("REJOINDER_LIMITS__PER_ADDRESS", "1/min").start(&db).await;

    for _ in 0..3 {
        let answer = server.request("GET", "/api/conversations/x").send().await;
        assert_eq!((answer.status, answer.header("ratelimit")), (404, None));
    }
}

/// Asserts that a cap refuses a message in the envelope of limits, without the headers of a rate that still permits it, and
/// that nothing is stored.
pub(super) async fn assert_capped(server: &TestServer, request: Request) {
    let before = server.row_counts().await;
    let answer = request.send().await;
    assert_eq!(answer.status, 429, "{}", answer.text());
    let wait = answer.header("retry-after").expect("it has a Retry-After header");
    assert_eq!(answer.text(), format!(r#"{{"message":"Too Many Attempts.","retry_after":{wait}}}"#));
    assert_eq!(answer.header("rejoinder-error"), Some("limit_reached"));
    for name in
        ["ratelimit", "ratelimit-policy", "x-ratelimit-limit", "x-ratelimit-remaining", "x-ratelimit-reset"]
    {
        assert_eq!(answer.header(name), None, "{name}");
    }
    assert_eq!(server.row_counts().await, before);
}

both_backends!(
    async fn free_turns_of_test_conversations_have_a_daily_cap_without_a_key(db: TestDb) {
        let server =
            Setup::default().with_limits().env("REJOINDER_LIMITS__TEST_TURNS_PER_DAY", "1").start(&db).await;

        assert_eq!(server.post_message(TEST, "Hi").send().await.status, 200);

        assert_capped(&server, server.post_message(TEST, "Hi")).await;
        assert_eq!(server.post_message(TEST, "Hi").bearer(&server.keys.full).send().await.status, 200);
        assert_eq!(server.post_message(WIDGET, "Hi").send().await.status, 200);
    }
);

both_backends!(
    async fn a_conversation_has_a_maximum_number_of_messages(db: TestDb) {
        let server = Setup::default()
            .with_limits()
            .env("REJOINDER_LIMITS__MESSAGES_PER_CONVERSATION", "3")
            .start(&db)
            .await;

        assert_eq!(server.post_message(WIDGET, "Hi").send().await.status, 200);

        assert_capped(&server, server.post_message(WIDGET, "Hi")).await;
        assert_eq!(server.post_message(TEST, "Hi").send().await.status, 200);
    }
);

both_backends!(
    async fn the_maximum_number_of_messages_applies_while_the_ai_is_off(db: TestDb) {
        let server = Setup::default()
            .with_limits()
            .env("REJOINDER_LIMITS__MESSAGES_PER_CONVERSATION", "3")
            .start(&db)
            .await;
        let switch = format!("/api/automate/conversations/{WIDGET}/disable-ai");
        assert_eq!(server.request("POST", &switch).bearer(&server.keys.full).send().await.status, 200);

        // The first message of the assistant counts, too.
        for _ in 0..2 {
            let stored = server.post_message(WIDGET, "Is anyone there?").send().await;
            assert_eq!(stored.status, 200, "{}", stored.text());
        }

        assert_capped(&server, server.post_message(WIDGET, "Is anyone there?")).await;
    }
);

both_backends!(
    async fn a_failed_turn_counts_towards_the_caps_on_spending_although_it_is_refunded(db: TestDb) {
        let server = Setup::default()
            .with_limits()
            .env("REJOINDER_LIMITS__SPEND_PER_CONVERSATION", "0.02")
            .env("REJOINDER_LIMITS__SPEND_PER_DAY", "0.03")
            .start(&db)
            .await;
        let other = server.create_conversation().await;
        server.model.script().respond_with(|_| Reply::error(StatusCode::INTERNAL_SERVER_ERROR, "no"));

        for _ in 0..2 {
            let failed = server.post_message(WIDGET, "Hi").send().await;
            assert_eq!(failed.header("rejoinder-error"), Some("model_unavailable"));
        }
        assert_capped(&server, server.post_message(WIDGET, "Hi")).await;
        let failed = server.post_message(&other, "Hi").send().await;
        assert_eq!(failed.header("rejoinder-error"), Some("model_unavailable"));
        assert_capped(&server, server.post_message(&other, "Hi")).await;

        assert_eq!(server.balance().await, "10.00");
        assert_eq!(server.model.calls().all().len(), 3);
    }
);

both_backends!(
    async fn conversations_that_visitors_do_not_use_are_capped_and_removed(db: TestDb) {
        let server = Setup::default()
            .with_limits()
            .env("REJOINDER_LIMITS__UNTOUCHED_CONVERSATIONS", "1")
            .start(&db)
            .await;
        let body = json!({ "assistant_id": ASSISTANT });
        let create = || server.request("POST", "/api/conversations").json(&body);
        let count =
            async || server.query_number("select cast(sum(untouched) as bigint) from workspace_state").await;

        let used = server.create_conversation().await;
        assert_eq!(count().await, 1);
        assert_capped(&server, create()).await;
        let keyed = create().bearer(&server.keys.full).send().await.json();
        let keyed = keyed["conversation_id"].as_str().unwrap();
        assert_eq!(server.post_message(&used, "Hi").send().await.status, 200);
        assert_eq!(count().await, 0);
        let switched = server.create_conversation().await;
        let switch = format!("/api/automate/conversations/{switched}/disable-ai");
        assert_eq!(server.request("POST", &switch).bearer(&server.keys.full).send().await.status, 200);
        let unused = server.create_conversation().await;
        assert_eq!(count().await, 1);
        server.worker().remove_untouched_conversations().await.unwrap();
        let read = async |uuid: &str| {
            server.request("GET", &format!("/api/conversations/{uuid}")).send().await.status
        };
        assert_eq!(read(&unused).await, 200, "it is too young");
        server.advance_clock(&db, Duration::from_hours(25)).await;
        server.worker().remove_untouched_conversations().await.unwrap();

        assert_eq!(read(&unused).await, 404);
        assert_eq!(server.post_message(&unused, "Hi").send().await.status, 404);
        for kept in [used.as_str(), &switched, keyed, WIDGET, TEST] {
            assert_eq!(read(kept).await, 200, "{kept}");
        }
        assert_eq!(count().await, 0);
        assert_eq!(create().send().await.status, 200);
        let orphans = server.db().read(Tenant::Process, integrity::find_orphans).await.unwrap();
        assert!(orphans.is_empty(), "{orphans:?}");
    }
);

both_backends!(
    async fn the_oldest_of_many_unused_conversations_make_room_for_others(db: TestDb) {
        let server = Setup::default()
            .with_limits()
            .env("REJOINDER_LIMITS__UNTOUCHED_CONVERSATIONS", "4")
            .start(&db)
            .await;
        let mut created = Vec::new();
        for _ in 0..4 {
            created.push(server.create_conversation().await);
            server.advance_clock(&db, Duration::from_secs(1)).await;
        }

        server.worker().remove_untouched_conversations().await.unwrap();

        let mut statuses = Vec::new();
        for uuid in &created {
            statuses.push(server.request("GET", &format!("/api/conversations/{uuid}")).send().await.status);
        }
        assert_eq!(statuses, [404, 404, 200, 200]);
        let count = server.query_number("select cast(sum(untouched) as bigint) from workspace_state").await;
        assert_eq!(count, 2);
    }
);

both_backends!(
    async fn a_conversation_that_an_older_process_has_used_is_kept(db: TestDb) {
        let server = Setup::default().with_limits().start(&db).await;
        let uuid = server.create_conversation().await;
        assert_eq!(server.post_message(&uuid, "Hi").send().await.status, 200);
        // As an older process leaves it, which does not know the mark.
        seed::execute(&db, "update conversations set untouched = true where kind = 'widget'").await;
        let marked = "update workspace_state set untouched = (select count(*) from conversations c \
            where c.workspace_id = workspace_state.workspace_id and c.untouched)";
        seed::execute(&db, marked).await;
        server.advance_clock(&db, Duration::from_hours(25)).await;

        server.worker().remove_untouched_conversations().await.unwrap();

        let read = server.request("GET", &format!("/api/conversations/{uuid}")).send().await;
        assert_eq!(read.json()["history"].as_array().unwrap().len(), 3);
        assert_eq!(server.query_number("select count(*) from conversations where untouched").await, 0);
        let count = server.query_number("select cast(sum(untouched) as bigint) from workspace_state").await;
        assert_eq!(count, 0);
    }
);

both_backends!(
    async fn spending_is_capped_by_conversation_and_by_day(db: TestDb) {
        let server = Setup::default()
            .with_limits()
            .env("REJOINDER_LIMITS__SPEND_PER_CONVERSATION", "0.01")
            .env("REJOINDER_LIMITS__SPEND_PER_DAY", "0.02")
            .start(&db)
            .await;
        let (second, third) = (server.create_conversation().await, server.create_conversation().await);

        assert_eq!(server.post_message(WIDGET, "Hi").send().await.status, 200);
        assert_capped(&server, server.post_message(WIDGET, "Hi")).await;
        assert_eq!(server.post_message(&second, "Hi").send().await.status, 200);
        assert_capped(&server, server.post_message(&third, "Hi")).await;

        assert_eq!(server.balance().await, "9.98");
    }
);
