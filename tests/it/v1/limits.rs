//! The rates of API keys and workspaces, and the limit of failed authentications.

use futures::future::join_all;
use rejoinder::domain::api_key::KeySecret;

use crate::support::db::both_backends;
use crate::support::http::Response;
use crate::support::server::{Setup, TestServer, WIDGET};
use crate::support::store;

const PER_KEY: &str = "REJOINDER_LIMITS__PER_KEY";
const FAILED: &str = "REJOINDER_LIMITS__FAILED_AUTHENTICATIONS_PER_ADDRESS";
const PROXIES: &str = "REJOINDER_LIMITS__TRUSTED_PROXIES";
const ATTACKER: &str = "203.0.113.7";
const CLIENT: &str = "203.0.113.8";

/// Reads the balance with a key, from an address behind a trusted proxy.
async fn ask(server: &TestServer, address: &str, key: &str) -> Response {
    server.request("GET", "/v1/balance").bearer(key).header("X-Forwarded-For", address).send().await
}

both_backends!(
    async fn a_key_has_a_rate_and_so_has_its_workspace(db: TestDb) {
        let server = Setup::default()
            .with_limits()
            .env(PER_KEY, "2/hour")
            .env("REJOINDER_LIMITS__PER_WORKSPACE", "3/hour")
            .start(&db)
            .await;
        let list = async |key: &str| server.request("GET", "/v1/conversations").bearer(key).send().await;

        let first = list(&server.keys.full).await;
        let second = list(&server.keys.full).await;
        let third = list(&server.keys.full).await;
        let other_key = list(&server.keys.read_only).await;
        let exceeded = list(&server.keys.read_only).await;

        assert_eq!((first.status, first.header("x-ratelimit-remaining")), (200, Some("1")));
        assert_eq!(first.header("ratelimit-policy"), Some(r#""key";q=2;w=3600"#));
        assert_eq!((second.status, second.header("x-ratelimit-remaining")), (200, Some("0")));
        assert_eq!(third.status, 429);
        assert_eq!(third.text(), r#"{"status":"error","message":"Too Many Attempts.","data":null}"#);
        assert_eq!(third.header("rejoinder-error"), Some("limit_reached"));
        assert!(third.header("retry-after").unwrap().parse::<u32>().unwrap() > 0);
        assert_eq!((other_key.status, other_key.header("x-ratelimit-remaining")), (200, Some("0")));
        assert_eq!(other_key.header("ratelimit-policy"), Some(r#""workspace";q=3;w=3600"#));
        assert_eq!(exceeded.status, 429);
        assert_eq!(list(&server.keys.other_workspace).await.status, 200);
    }
);

both_backends!(
    async fn a_message_above_the_rate_is_not_stored(db: TestDb) {
        let server = Setup::default().with_limits().env(PER_KEY, "1/hour").start(&db).await;
        let body = r#"{"sender_id": "u", "sender_type": "user", "text": "Hi", "auto_reply": false}"#;

        assert_eq!(server.enqueue(body).send().await.status, 200);
        let before = server.row_counts().await;
        let refused = server.enqueue(body).send().await;

        assert_eq!((refused.status, refused.header("rejoinder-error")), (429, Some("limit_reached")));
        assert_eq!(server.row_counts().await, before);
    }
);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_ai_switch_counts_towards_the_rate_of_its_key() {
    let db = store::sqlite().await;
    let server = Setup::default().with_limits().env(PER_KEY, "1/hour").start(&db).await;
    let path = format!("/api/automate/conversations/{WIDGET}/disable-ai");
    let switch = async || server.request("POST", &path).bearer(&server.keys.full).send().await;

    assert_eq!(switch().await.status, 200);
    let refused = switch().await;

    assert_eq!(refused.status, 429);
    let wait = refused.header("retry-after").unwrap();
    assert_eq!(refused.text(), format!(r#"{{"message":"Too Many Attempts.","retry_after":{wait}}}"#));
}

both_backends!(
    async fn failed_authentications_are_counted_by_address_before_the_database_is_read(db: TestDb) {
        let server =
            Setup::default().with_limits().env(FAILED, "3/hour").env(PROXIES, "127.0.0.1").start(&db).await;
        let keys = &server.keys;
        assert_eq!(ask(&server, CLIENT, &keys.full).await.status, 200);

        for token in ["sk_nonsense", keys.revoked.as_str(), keys.expired.as_str()] {
            let answer = ask(&server, ATTACKER, token).await;
            assert_eq!(answer.status, 401);
            let policy = answer.header("ratelimit-policy");
            assert_eq!(policy, Some(r#""failed-authentications";q=3;w=3600"#));
        }
        let refused = ask(&server, ATTACKER, &keys.revoked).await;
        assert_eq!((refused.status, refused.header("rejoinder-error")), (429, Some("limit_reached")));
        let widget = server.request("GET", &format!("/api/conversations/{WIDGET}")).bearer("sk_nonsense");
        assert_eq!(widget.header("X-Forwarded-For", ATTACKER).send().await.status, 429);

        // Only a look-up could tell that this process has not yet seen a valid key.
        assert_eq!(ask(&server, ATTACKER, &keys.other_workspace).await.status, 429);
        assert_eq!(ask(&server, ATTACKER, &keys.full).await.status, 200, "a known key is not counted");
        assert_eq!(ask(&server, CLIENT, &keys.other_workspace).await.status, 200);
    }
);

both_backends!(
    async fn a_flood_of_invalid_keys_from_one_address_refuses_nobody_else(db: TestDb) {
        let server =
            Setup::default().with_limits().env(FAILED, "3/hour").env(PROXIES, "127.0.0.1").start(&db).await;
        let (server, keys) = (&server, &server.keys);
        assert_eq!(ask(server, CLIENT, &keys.full).await.status, 200);

        let flood = join_all((0..100).map(|number| async move {
            let secret = KeySecret::new([number; 32]);
            ask(server, ATTACKER, secret.expose()).await.status
        }));
        let honest = async {
            let mut statuses = Vec::new();
            for key in [&keys.full, &keys.other_workspace].into_iter().cycle().take(20) {
                statuses.push(ask(server, CLIENT, key).await.status);
            }
            statuses
        };
        let (hostile, honest) = tokio::join!(flood, honest);

        assert_eq!(honest, [200; 20]);
        assert_eq!(hostile.iter().filter(|status| **status == 401).count(), 3);
        assert_eq!(hostile.iter().filter(|status| **status == 429).count(), 97);
    }
);
