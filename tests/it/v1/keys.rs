//! Keys through the API: no key gets more than its maker has, and a roll interrupts nobody.

use std::time::Duration;

use futures::future::join_all;
use rejoinder::domain::account::Scope;
use rejoinder::service::keys::{self, CreateKey};
use serde_json::{Value, json};

use crate::support::db::both_backends;
use crate::support::described;
use crate::support::http::Response;
use crate::support::server::TestServer;
use crate::support::wait::wait_at_most;

/// A key of the demo workspace with these scopes.
pub async fn create(server: &TestServer, scopes: &[Scope]) -> (String, String) {
    create_in(server, "demo", scopes).await
}

/// A key with these scopes: its secret and its id.
pub async fn create_in(server: &TestServer, workspace: &str, scopes: &[Scope]) -> (String, String) {
    let services = server.services();
    let request = CreateKey {
        workspace: workspace.to_owned(),
        name: "tests".to_owned(),
        scopes: scopes.to_vec(),
        expires_in: None,
    };
    let created = keys::create(&services.db, services.clock.as_ref(), &services.ids, request).await.unwrap();
    (created.0.expose().to_owned(), created.1.id.to_string())
}

async fn me(server: &TestServer, key: &str) -> Response {
    server.request("GET", "/v1/me").bearer(key).send().await
}

async fn post(server: &TestServer, key: &str, path: &str, body: &Value) -> Response {
    server.request("POST", path).bearer(key).json(body).send().await
}

both_backends!(
    async fn a_key_says_what_it_is(db: TestDb) {
        described::check_responses();
        let server = TestServer::start(&db).await;
        let (secret, id) = create(&server, &[Scope::Erase]).await;

        let me = me(&server, &secret).await.json()["data"].clone();

        assert_eq!((&me["key"]["id"], &me["key"]["scopes"]), (&json!(id), &json!(["erase"])));
        assert_eq!(me["key"]["prefix"], secret[..9]);
        assert!(me["key"].get("secret").is_none());
        assert_eq!(me["workspace"]["slug"], "demo");
        assert_eq!(me["workspace"]["suspended"], false);
        assert_eq!(me["server"]["version"], env!("CARGO_PKG_VERSION"));
        for key in [&server.keys.expired, &server.keys.revoked] {
            let refused = server.request("GET", "/v1/me").bearer(key).send().await;
            assert_eq!(refused.status, 401);
        }
    }
);

both_backends!(
    async fn no_key_makes_one_with_a_scope_that_it_lacks(db: TestDb) {
        let server = TestServer::start(&db).await;
        let (maker, _) = create(&server, &[Scope::Keys, Scope::Read]).await;
        let (_, strong) = create(&server, &[Scope::Erase]).await;

        let made = post(&server, &maker, "/v1/keys", &json!({ "name": "weak", "scopes": ["read"] })).await;
        let refused =
            post(&server, &maker, "/v1/keys", &json!({ "name": "x", "scopes": ["read", "config"] })).await;
        let rolled = post(&server, &maker, &format!("/v1/keys/{strong}/roll"), &json!({})).await;
        let revoked = server.request("DELETE", &format!("/v1/keys/{strong}")).bearer(&maker).send().await;

        let secret = made.json()["data"]["secret"].as_str().unwrap().to_owned();
        assert_eq!(me(&server, &secret).await.json()["data"]["key"]["scopes"], json!(["read"]));
        let lacks = |scope: &str| {
            format!(r#"{{"status":"error","message":"This key lacks the scope '{scope}'.","data":null}}"#)
        };
        assert_eq!((refused.status, refused.text()), (403, &*lacks("config")));
        assert_eq!((rolled.status, rolled.text()), (403, &*lacks("erase")));
        assert_eq!((revoked.status, revoked.text()), (403, &*lacks("erase")));
        let listed = server.request("GET", "/v1/keys").bearer(&maker).send().await;
        assert!(!listed.text().contains(&secret), "a secret is shown once");
        let without_scope = server.request("GET", "/v1/keys").bearer(&server.keys.full).send().await;
        assert_eq!((without_scope.status, without_scope.text()), (403, &*lacks("keys")));
    }
);

both_backends!(
    async fn a_key_may_revoke_itself_whatever_it_has(db: TestDb) {
        let server = TestServer::start(&db).await;
        let (own, id) = create(&server, &[Scope::Keys]).await;

        let revoked = server.request("DELETE", &format!("/v1/keys/{id}")).bearer(&own).send().await;

        assert_eq!(revoked.status, 200);
        let is_rejected = async || (me(&server, &own).await.status == 401).then_some(());
        wait_at_most(Duration::from_secs(5), "the key to be rejected", is_rejected).await;
    }
);

both_backends!(
    async fn both_secrets_of_a_rolled_key_are_valid_until_the_overlap_is_over(db: TestDb) {
        let server = TestServer::start(&db).await;
        let (old, id) = create(&server, &[Scope::Keys]).await;
        let path = format!("/v1/keys/{id}/roll");

        let rolled = post(&server, &old, &path, &json!({ "overlap_seconds": 3600 })).await.json();
        let new = rolled["data"]["secret"].as_str().unwrap().to_owned();

        assert_eq!(rolled["data"]["id"], id.as_str());
        assert!(rolled["data"]["previous_secret_until"].is_string());
        for key in [&old, &new] {
            assert_eq!(me(&server, key).await.json()["data"]["key"]["id"], id.as_str());
        }
        server.advance_clock(&db, Duration::from_hours(1)).await;
        let is_rejected = async || (me(&server, &old).await.status == 401).then_some(());
        wait_at_most(Duration::from_secs(5), "the old secret to be rejected", is_rejected).await;
        assert_eq!(me(&server, &new).await.status, 200);
    }
);

both_backends!(
    async fn an_old_secret_manages_no_keys(db: TestDb) {
        let server = TestServer::start(&db).await;
        let (old, id) = create(&server, &[Scope::Keys]).await;
        let (_, other) = create(&server, &[Scope::Keys]).await;
        let (own, other) = (format!("/v1/keys/{id}"), format!("/v1/keys/{other}"));
        let roll = format!("{own}/roll");
        let rolled = post(&server, &old, &roll, &json!({ "overlap_seconds": 3600 })).await.json();
        let new = rolled["data"]["secret"].as_str().unwrap().to_owned();

        let refused = [
            post(&server, &old, "/v1/keys", &json!({ "name": "x", "scopes": ["keys"] })).await,
            post(&server, &old, &roll, &json!({ "overlap_seconds": 0 })).await,
            post(&server, &old, &format!("{other}/roll"), &json!({})).await,
            server.request("DELETE", &own).bearer(&old).send().await,
            server.request("DELETE", &other).bearer(&old).send().await,
        ];
        let listed = server.request("GET", "/v1/keys").bearer(&old).send().await;
        let is_valid = me(&server, &new).await.status;
        let again = post(&server, &new, &roll, &json!({ "overlap_seconds": 0 })).await;

        for refused in refused {
            assert_eq!((refused.status, refused.header("rejoinder-error")), (409, Some("conflict")));
            assert!(refused.text().contains("before the last roll"), "{}", refused.text());
        }
        assert_eq!((listed.status, is_valid, again.status), (200, 200, 200));
    }
);

both_backends!(
    async fn a_revoked_key_that_this_process_still_trusts_leaves_nothing_behind(db: TestDb) {
        let server = TestServer::start(&db).await;
        let (maker, id) = create(&server, Scope::ALL).await;
        let (_, other) = create(&server, &[Scope::Read]).await;
        assert_eq!(me(&server, &maker).await.status, 200);
        let services = server.services();
        let (clock, ids) = (services.clock.as_ref(), &services.ids);
        // As another process does.
        keys::revoke(&services.db, clock, ids, id.parse().unwrap()).await.unwrap();

        let refused = [
            post(&server, &maker, "/v1/keys", &json!({ "name": "x", "scopes": ["read"] })).await,
            post(&server, &maker, &format!("/v1/keys/{other}/roll"), &json!({})).await,
            post(&server, &maker, &format!("/v1/keys/{id}/roll"), &json!({})).await,
            server.request("DELETE", &format!("/v1/keys/{other}")).bearer(&maker).send().await,
            post(&server, &maker, "/v1/erasures", &json!({ "sender_id": "ada" })).await,
            server
                .request("DELETE", "/v1/conversations/con_01k9z3x8f5e4r9t2m6q7w8y0ab")
                .bearer(&maker)
                .send()
                .await,
        ];

        for refused in refused {
            assert_eq!(refused.status, 401, "{}", refused.text());
        }
        assert_eq!(server.query_number("select count(*) from erasures").await, 0);
        assert_eq!(server.query_number("select count(*) from api_keys where name = 'x'").await, 0);
    }
);

both_backends!(
    async fn the_process_that_rolls_or_revokes_a_key_rejects_it_at_once(db: TestDb) {
        let server = TestServer::start(&db).await;
        let (maker, _) = create(&server, Scope::ALL).await;
        let (secret, id) = create(&server, &[Scope::Read]).await;
        assert_eq!(me(&server, &secret).await.status, 200);

        let body = json!({ "overlap_seconds": 0 });
        let rolled = post(&server, &maker, &format!("/v1/keys/{id}/roll"), &body).await.json();
        let after_roll = me(&server, &secret).await.status;
        let secret = rolled["data"]["secret"].as_str().unwrap();
        assert_eq!(me(&server, secret).await.status, 200);
        server.request("DELETE", &format!("/v1/keys/{id}")).bearer(&maker).send().await;

        assert_eq!((after_roll, me(&server, secret).await.status), (401, 401));
    }
);

both_backends!(
    async fn no_key_gives_a_later_expiry_than_its_own(db: TestDb) {
        let server = TestServer::start(&db).await;
        let (permanent, permanent_id) = create(&server, &[Scope::Keys]).await;
        let expiring = json!({ "name": "x", "scopes": ["keys"], "expires_in_seconds": 3600 });
        let made = post(&server, &permanent, "/v1/keys", &expiring).await.json()["data"].clone();
        let maker = made["secret"].as_str().unwrap();
        let create_with = async |fields: Value| {
            let mut body = json!({ "name": "y", "scopes": ["keys"] });
            body.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
            post(&server, maker, "/v1/keys", &body).await
        };

        let inherited = create_with(json!({})).await.json();
        let same = create_with(json!({ "expires_at": made["expires_at"] })).await;
        let shorter = create_with(json!({ "expires_in_seconds": 60 })).await;
        let later = [
            ("expires_in_seconds", create_with(json!({ "expires_in_seconds": 7200 })).await),
            ("expires_at", create_with(json!({ "expires_at": "2026-03-15T16:22:11Z" })).await),
        ];
        let rolled = post(&server, maker, &format!("/v1/keys/{permanent_id}/roll"), &json!({})).await;
        let revoked =
            server.request("DELETE", &format!("/v1/keys/{permanent_id}")).bearer(maker).send().await;
        let own = format!("/v1/keys/{}/roll", made["id"].as_str().unwrap());
        let own = post(&server, maker, &own, &json!({})).await;

        assert_eq!(inherited["data"]["expires_at"], made["expires_at"]);
        assert_eq!((same.status, shorter.status), (200, 200));
        for (field, later) in later {
            assert_eq!(later.status, 400);
            let text = format!("Field '{field}' must not make the key expire after ");
            assert!(later.text().contains(&text), "{}", later.text());
        }
        assert_eq!((rolled.status, rolled.header("rejoinder-error")), (409, Some("conflict")));
        assert_eq!((revoked.status, own.status), (200, 200));
    }
);

both_backends!(
    async fn without_an_overlap_the_old_secret_and_its_streams_end(db: TestDb) {
        let server = TestServer::start(&db).await;
        let (old, id) = create(&server, &[Scope::Keys, Scope::Read]).await;
        let mut stream = server.request("GET", "/v1/events/stream?after=latest").bearer(&old).stream().await;
        assert!(stream.block().await.is_some());

        let body = json!({ "overlap_seconds": 0 });
        let rolled = post(&server, &old, &format!("/v1/keys/{id}/roll"), &body).await.json();

        while stream.block().await.is_some() {}
        let is_rejected = async || (me(&server, &old).await.status == 401).then_some(());
        wait_at_most(Duration::from_secs(5), "the old secret to be rejected", is_rejected).await;
        assert_eq!(me(&server, rolled["data"]["secret"].as_str().unwrap()).await.status, 200);
        assert_eq!(rolled["data"]["previous_secret_until"], json!(null));
    }
);

both_backends!(
    async fn a_key_that_is_not_valid_is_not_rolled_and_an_unknown_one_not_found(db: TestDb) {
        let server = TestServer::start(&db).await;
        let (maker, _) = create(&server, &[Scope::Keys]).await;
        let (_, other) = create_in(&server, "other", &[Scope::Keys]).await;
        let (_, revoked) = create(&server, &[Scope::Keys]).await;
        server.request("DELETE", &format!("/v1/keys/{revoked}")).bearer(&maker).send().await;

        let rolled = post(&server, &maker, &format!("/v1/keys/{revoked}/roll"), &json!({})).await;

        assert_eq!((rolled.status, rolled.header("rejoinder-error")), (409, Some("conflict")));
        for id in [other.as_str(), "key_0", "x"] {
            for (method, path) in [("GET", ""), ("POST", "/roll"), ("DELETE", "")] {
                let request = server.request(method, &format!("/v1/keys/{id}{path}")).bearer(&maker);
                let answer = request.send().await;
                assert_eq!((answer.status, answer.header("rejoinder-error")), (404, Some("key_not_found")));
            }
        }
    }
);

both_backends!(
    async fn what_is_invalid_is_refused_by_name(db: TestDb) {
        let server = TestServer::start(&db).await;
        let (maker, _) = create(&server, Scope::ALL).await;

        for (body, field) in [
            (json!({ "scopes": ["read"] }), "name"),
            (json!({ "name": "x" }), "scopes"),
            (json!({ "name": "x", "scopes": [] }), "scopes"),
            (json!({ "name": "x", "scopes": ["admin"] }), "scopes"),
            (json!({ "name": "x", "scopes": ["read"], "expires_in_seconds": 0 }), "expires_in_seconds"),
            (json!({ "name": "x", "scopes": ["read"], "expires_at": "tomorrow" }), "expires_at"),
            (json!({ "name": "x", "scopes": ["read"], "expires_at": "2001-01-01T00:00:00Z" }), "expires_at"),
            (
                json!({ "name": "x", "scopes": ["read"], "expires_in_seconds": 60, "expires_at": "2030-01-01T00:00:00Z" }),
                "expires_at",
            ),
        ] {
            let answer = post(&server, &maker, "/v1/keys", &body).await;
            assert_eq!(answer.status, 400, "{body}");
            assert!(answer.text().contains(&format!("'{field}'")), "{}", answer.text());
        }
    }
);

both_backends!(
    async fn the_number_of_keys_is_bounded_also_if_many_are_made_at_once(db: TestDb) {
        let server = TestServer::start(&db).await;
        let (maker, _) = create(&server, Scope::ALL).await;
        let body = json!({ "name": "x", "scopes": ["read"] });
        let create_one = || post(&server, &maker, "/v1/keys", &body);

        let mut count = 0;
        for _ in 0..6 {
            let answers = join_all((0..20).map(|_| create_one())).await;
            count += answers.iter().filter(|answer| answer.status == 200).count();
        }

        let refused = create_one().await;
        assert_eq!((refused.status, refused.header("rejoinder-error")), (409, Some("conflict")));
        let valid = "select count(*) from api_keys join workspaces on workspaces.id = workspace_id \
            where slug = 'demo' and revoked_at is null";
        // One key of the workspace has expired.
        assert_eq!(server.query_number(valid).await, 101);
        assert!((90..100).contains(&count), "{count}");
        let listed = server.request("GET", "/v1/keys?limit=60").bearer(&maker).send().await.json();
        assert_eq!(listed["data"]["items"].as_array().unwrap().len(), 60);
        assert!(listed["data"]["next_cursor"].is_string());
    }
);

both_backends!(
    async fn each_change_of_a_key_leaves_one_entry_without_a_secret(db: TestDb) {
        let server = TestServer::start(&db).await;
        let (maker, _) = create(&server, Scope::ALL).await;
        let made =
            post(&server, &maker, "/v1/keys", &json!({ "name": "x", "scopes": ["read"] })).await.json();
        let path = format!("/v1/keys/{}", made["data"]["id"].as_str().unwrap());

        post(&server, &maker, &format!("{path}/roll"), &json!({})).await;
        for _ in 0..2 {
            server.request("DELETE", &path).bearer(&maker).send().await;
        }

        let id = made["data"]["id"].as_str().unwrap();
        let log = server.request("GET", &format!("/v1/audit?object_id={id}")).bearer(&maker).send().await;
        let mut actions: Vec<_> = log.json()["data"]["items"]
            .as_array()
            .unwrap()
            .iter()
            .map(|entry| (entry["action"].clone(), entry["route"].clone()))
            .map(|(action, route)| format!("{} {}", action.as_str().unwrap(), route.as_str().unwrap()))
            .collect();
        actions.sort();
        assert_eq!(
            actions,
            ["created POST /v1/keys", "revoked DELETE /v1/keys/{id}", "rotated POST /v1/keys/{id}/roll"]
        );
        assert!(!log.text().contains(made["data"]["secret"].as_str().unwrap()));
    }
);
