//! The keys of the operator's API, and those that it makes for workspaces.

use std::time::Duration;

use rejoinder::service::operator_keys;
use serde_json::json;

use super::Operator;
use crate::support::db::both_backends;
use crate::support::http::Http;
use crate::support::server::{Setup, TestServer};
use crate::support::store;
use crate::support::wait::wait_at_most;

both_backends!(
    async fn each_api_accepts_only_its_own_keys(db: TestDb) {
        let server = TestServer::start(&db).await;
        let operator = Operator::new(&server).await;

        assert_eq!(operator.get("/workspaces").await.status, 200);
        let with_workspace_key = server.request("GET", "/operator/v1/workspaces").bearer(&server.keys.full);
        assert_eq!(with_workspace_key.send().await.status, 401);
        assert_eq!(server.request("GET", "/operator/v1/workspaces").send().await.status, 401);
        assert_eq!(server.request("GET", "/v1/me").bearer(&operator.key).send().await.status, 401);
        let widget = server.request("POST", "/api/conversations").bearer(&operator.key).body("{}");
        assert_eq!(widget.send().await.status, 401);
    }
);

both_backends!(
    async fn a_revoked_key_is_rejected_within_five_seconds(db: TestDb) {
        let server = TestServer::start(&db).await;
        let operator = Operator::new(&server).await;
        assert_eq!(operator.get("/processes").await.status, 200);
        let services = server.services();
        let listed = operator_keys::list(&services.db).await.unwrap();
        let (clock, ids) = (services.clock.as_ref(), &services.ids);

        operator_keys::revoke(&services.db, clock, ids, listed[0].id).await.unwrap();
        operator_keys::revoke(&services.db, clock, ids, listed[0].id).await.unwrap();

        let is_rejected = async || (operator.get("/processes").await.status == 401).then_some(());
        wait_at_most(Duration::from_secs(5), "the key to be rejected", is_rejected).await;
        let entries =
            server.query_number("select count(*) from audit_log where object_kind = 'operator_key'");
        assert_eq!(entries.await, 2, "the creation and one revocation");
    }
);

both_backends!(
    async fn a_revoked_key_that_this_process_still_trusts_leaves_nothing_behind(db: TestDb) {
        let server = TestServer::start(&db).await;
        let operator = Operator::new(&server).await;
        let (demo, other) = (operator.workspace("demo").await, operator.workspace("other").await);
        assert_eq!(operator.post(&format!("/workspaces/{other}/suspend"), &json!({})).await.status, 200);
        let services = server.services();
        let listed = operator_keys::list(&services.db).await.unwrap();
        let (clock, ids) = (services.clock.as_ref(), &services.ids);
        operator_keys::revoke(&services.db, clock, ids, listed[0].id).await.unwrap();
        let before = server.row_counts().await;

        let key = json!({ "name": "x", "scopes": ["read"] });
        let credit = json!({ "amount": "1.00", "reference": "x" });
        let refused = [
            operator.post(&format!("/workspaces/{demo}/keys"), &key).await,
            operator.post(&format!("/workspaces/{demo}/credit"), &credit).await,
            operator.post("/workspaces", &json!({ "slug": "new", "name": "New" })).await,
            operator.post(&format!("/workspaces/{demo}/suspend"), &json!({})).await,
            operator.request("DELETE", &format!("/workspaces/{other}")).send().await,
        ];

        for refused in refused {
            assert_eq!(refused.status, 401, "{}", refused.text());
        }
        assert_eq!(server.row_counts().await, before);
    }
);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn invalid_keys_count_towards_the_limit_of_their_address() {
    let db = store::sqlite().await;
    let failed = "REJOINDER_LIMITS__FAILED_AUTHENTICATIONS_PER_ADDRESS";
    let server = Setup::default().with_limits().env(failed, "2/hour").start(&db).await;
    let operator = Operator::new(&server).await;
    let ask = |key: &str| server.request("GET", "/operator/v1/processes").bearer(key).send();

    assert_eq!(operator.get("/processes").await.status, 200);
    assert_eq!(ask("op_unknown").await.status, 401);
    assert_eq!(ask("op_unknown").await.status, 429);
    assert_eq!(operator.get("/processes").await.status, 200, "a key that is known is not counted");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_a_listener_of_its_own_the_api_is_only_there() {
    let db = store::sqlite().await;
    let server = Setup::default().env("REJOINDER_OPERATOR__LISTEN", "127.0.0.1:0").start(&db).await;
    let operator = Operator::new(&server).await;

    assert_eq!(operator.get("/workspaces").await.status, 404);
    let own = Http::new(format!("http://{}", server.operator_address()));
    assert_eq!(own.get("/operator/v1/workspaces").bearer(&operator.key).send().await.status, 200);
    assert_eq!(own.get("/v1/me").bearer(&server.keys.full).send().await.status, 404);
}

both_backends!(
    async fn an_operator_makes_a_key_with_any_scope_and_rolls_and_revokes_it(db: TestDb) {
        let server = TestServer::start(&db).await;
        let operator = Operator::new(&server).await;
        let keys = format!("/workspaces/{}/keys", operator.workspace("demo").await);
        let body =
            json!({ "name": "officer", "scopes": ["export", "erase", "keys"], "expires_in_seconds": 3600 });

        let created = operator.post(&keys, &body).await.json();
        let (id, secret) = (created["data"]["id"].clone(), created["data"]["secret"].clone());
        let key = format!("{keys}/{}", id.as_str().unwrap());
        let me = server.request("GET", "/v1/me").bearer(secret.as_str().unwrap()).send().await.json();
        let rolled = operator.request("POST", &format!("{key}/roll")).send().await.json();
        let revoked = operator.request("DELETE", &key).send().await.json();

        assert_eq!(me["data"]["key"]["scopes"], body["scopes"]);
        assert_eq!((&rolled["data"]["id"], &revoked["data"]["id"]), (&id, &id));
        assert_ne!(rolled["data"]["secret"], secret);
        assert!(revoked["data"]["revoked_at"].is_string());
        assert_eq!(operator.get(&key).await.json()["data"]["revoked_at"], revoked["data"]["revoked_at"]);
        let other =
            format!("/workspaces/{}/keys/{}", operator.workspace("other").await, id.as_str().unwrap());
        assert_eq!(operator.get(&other).await.status, 404);
        let actors = server.query_number(
            "select count(*) from audit_log where object_kind = 'key' and actor_kind = 'operator' \
             and actor_name = 'billing' and route like '% /operator/v1/workspaces/{id}/keys%'",
        );
        assert_eq!(actors.await, 3);
    }
);
