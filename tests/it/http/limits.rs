//! The widget door's limits as a client meets them.

use std::num::NonZeroU32;
use std::time::Duration;

use super::app::{App, KEY};
use crate::support::db::{Backend, TestDb};
use crate::support::store::STORE;
use rejoinder::config::Rate;

const HELLO: &str = r#"{"message": "Hi"}"#;

fn rate(count: u32) -> Rate {
    Rate { count: NonZeroU32::new(count).unwrap(), period: Duration::from_mins(1) }
}

#[tokio::test]
async fn messages_are_limited_by_conversation() {
    let db = TestDb::copy_of(&STORE, Backend::Sqlite).await;
    let app = App::with(&db, |config| config.limits.per_conversation = rate(2)).await;
    let uuid = app.conversation().await;

    let first = app.say(&uuid, HELLO).send().await;
    let second = app.say(&uuid, "{}").send().await;
    let third = app.say(&uuid, HELLO).send().await;
    let keyed = app.say(&uuid, HELLO).key(KEY).send().await;

    assert_eq!(first.header("x-ratelimit-limit"), Some("2"));
    assert_eq!(first.header("x-ratelimit-remaining"), Some("1"));
    assert_eq!(first.header("ratelimit"), Some(r#""conversation";r=1;t=30"#));
    assert_eq!(first.header("ratelimit-policy"), Some(r#""conversation";q=2;w=60"#));
    assert_eq!((second.status, second.header("x-ratelimit-remaining")), (422, Some("0")));
    assert_eq!(third.status, 429);
    let wait = third.header("retry-after").unwrap();
    assert_eq!(third.body, format!(r#"{{"message":"Too Many Attempts.","retry_after":{wait}}}"#));
    assert_eq!(third.header("rejoinder-error"), Some("limit_reached"));
    assert_eq!(keyed.status, 429);
    let other = app.conversation().await;
    assert_eq!(app.say(&other, HELLO).send().await.status, 200);
}

#[tokio::test]
async fn requests_are_limited_by_address_unless_a_key_comes() {
    let db = TestDb::copy_of(&STORE, Backend::Sqlite).await;
    let app = App::with(&db, |config| {
        config.limits.per_address = rate(2);
        config.limits.trusted_proxy_hops = 1;
    })
    .await;
    let ask = |client: &str| app.call("GET", "/api/conversations/x").header("X-Forwarded-For", client);

    assert_eq!(ask("203.0.113.7").send().await.status, 404);
    assert_eq!(ask("6.6.6.6, 203.0.113.7").send().await.status, 404);
    assert_eq!(ask("6.6.6.7, 203.0.113.7").send().await.status, 429);
    assert_eq!(ask("203.0.113.7").key(KEY).send().await.status, 404);
    assert_eq!(ask("203.0.113.8").send().await.status, 404);
}

#[tokio::test]
async fn new_conversations_are_limited_by_address_apart() {
    let db = TestDb::copy_of(&STORE, Backend::Sqlite).await;
    let app = App::with(&db, |config| config.limits.new_conversations_per_address = rate(1)).await;
    let uuid = app.conversation().await;

    let again = app.call("POST", "/api/conversations").body("{}").send().await;

    assert_eq!(again.status, 429);
    assert_eq!(
        again.header("ratelimit").map(|text| text.starts_with("\"new-conversations\";r=0")),
        Some(true)
    );
    assert_eq!(app.say(&uuid, HELLO).send().await.status, 200);
    assert_eq!(app.call("GET", "/v1/balance").key(KEY).send().await.status, 200);
}

#[tokio::test]
async fn nothing_is_limited_where_limits_are_off() {
    let db = TestDb::copy_of(&STORE, Backend::Sqlite).await;
    let app = App::with(&db, |config| {
        config.limits.enabled = false;
        config.limits.per_address = rate(1);
    })
    .await;

    for _ in 0..3 {
        let answer = app.call("GET", "/api/conversations/x").send().await;
        assert_eq!((answer.status, answer.header("ratelimit")), (404, None));
    }
}
