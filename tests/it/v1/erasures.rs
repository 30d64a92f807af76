//! Erasures: what is left afterwards, who may ask for one, and what happens meanwhile.

mod content;
mod interrupted;
mod retention;

use std::time::Duration;

use rejoinder::domain::account::Scope;
use rejoinder::service::keys::{self, CreateKey};
use rejoinder::store::Conn;
use serde_json::{Value, json};

use crate::support::db::both_backends;
use crate::support::described;
use crate::support::http::Response;
use crate::support::seed;
use crate::support::server::{TestServer, WIDGET};
use crate::support::store;
use crate::support::wait::{wait_at_most, wait_for};

/// As long as an erasure may take.
const WITHIN: Duration = Duration::from_mins(1);

/// A new key of a workspace with these scopes.
async fn create_key(server: &TestServer, workspace: &str, scopes: &[Scope]) -> String {
    let services = server.services();
    let request = CreateKey {
        workspace: workspace.to_owned(),
        name: "erasing".to_owned(),
        scopes: scopes.to_vec(),
        expires_in: None,
    };
    let created = keys::create(&services.db, services.clock.as_ref(), &services.ids, request).await;
    created.unwrap().0.expose().to_owned()
}

async fn erasing_key(server: &TestServer) -> String {
    create_key(server, "demo", &[Scope::Erase]).await
}

async fn delete(server: &TestServer, key: &str, con: &str) -> Response {
    server.request("DELETE", &format!("/v1/conversations/{con}")).bearer(key).send().await
}

async fn erase(server: &TestServer, key: &str, body: &Value) -> Response {
    server.request("POST", "/v1/erasures").bearer(key).json(body).send().await
}

/// Waits until the erasure of this response is done, and returns it.
async fn wait_until_done(server: &TestServer, key: &str, accepted: &Response) -> Value {
    assert_eq!(accepted.status, 202, "{}", accepted.text());
    let path = format!("/v1/erasures/{}", accepted.json()["data"]["id"].as_str().unwrap());
    let look = async || {
        let read = server.request("GET", &path).bearer(key).send().await.json()["data"].clone();
        (read["state"] == "done").then_some(read)
    };
    wait_at_most(WITHIN, "the erasure to be done", look).await
}

both_backends!(
    async fn only_a_key_of_the_workspace_with_its_scope_erases(db: TestDb) {
        described::check_responses();
        let server = TestServer::start(&db).await;
        let con = server.store_message(None, "Hi").await;
        let other = create_key(&server, "other", Scope::ALL).await;
        let all_others: Vec<Scope> =
            Scope::ALL.iter().copied().filter(|scope| *scope != Scope::Erase).collect();
        let without = create_key(&server, "demo", &all_others).await;
        let key = erasing_key(&server).await;
        let person = json!({ "external_identifier": "ada" });

        for (key, status) in [(without.as_str(), 403), ("rj_nonsense", 401)] {
            assert_eq!(delete(&server, key, &con).await.status, status);
            assert_eq!(erase(&server, key, &person).await.status, status);
            let listed = server.request("GET", "/v1/erasures").bearer(key).send().await;
            assert_eq!(listed.status, status);
        }
        assert_eq!(delete(&server, &other, &con).await.status, 404);
        assert_eq!(server.messages(&con).await.len(), 1);

        let accepted = delete(&server, &key, &con).await;
        let path = format!("/v1/erasures/{}", accepted.json()["data"]["id"].as_str().unwrap());
        assert_eq!(server.request("GET", &path).bearer(&other).send().await.status, 404);
        assert_eq!(server.request("GET", &path).bearer(&key).send().await.status, 200);
        for bad in
            [json!({}), json!({ "sender_id": "a", "external_identifier": "b" }), json!({ "name": "a" })]
        {
            assert_eq!(erase(&server, &key, &bad).await.status, 400, "{bad}");
        }
    }
);

both_backends!(
    async fn a_deleted_conversation_is_unknown_to_both_apis_at_once(db: TestDb) {
        let server = TestServer::start(&db).await;
        let con = server.conversation_id(WIDGET).await;
        server.post_message(WIDGET, "Hi").send().await;
        let key = erasing_key(&server).await;

        let (first, second) = tokio::join!(delete(&server, &key, &con), delete(&server, &key, &con));

        let mut statuses = [first.status, second.status];
        statuses.sort_unstable();
        assert_eq!(statuses, [202, 404]);
        let unknown = async |path: String| server.get(&path).await.status;
        assert_eq!(unknown(format!("/v1/conversations/{con}")).await, 404);
        assert_eq!(unknown(format!("/v1/conversations/{con}/messages")).await, 404);
        let body =
            json!({ "conversation_id": con, "sender_id": "u", "sender_type": "user", "text": "again" });
        assert_eq!(server.enqueue(body.to_string()).send().await.status, 404);
        let widget = server.post_message(WIDGET, "again").send().await;
        assert_eq!(widget.status, 404, "{}", widget.text());
        let history = server.request("GET", &format!("/api/conversations/{WIDGET}")).send().await;
        assert_eq!(history.status, 404);
        let listed = server.get("/v1/conversations?limit=200").await.json();
        assert!(!listed.to_string().contains(&con), "{listed}");
        assert_eq!(
            server.wait_for_events("conversation.deleted", 1).await[0]["data"],
            json!({ "conversation_id": con })
        );
    }
);

both_backends!(
    async fn the_audit_log_has_each_erasure_without_a_name(db: TestDb) {
        let server = TestServer::start(&db).await;
        let con = server.store_message(None, "Hi").await;
        let key = erasing_key(&server).await;

        delete(&server, &key, &con).await;
        erase(&server, &key, &json!({ "external_identifier": "Ada Lovelace" })).await;
        delete(&server, &key, &con).await;

        let count = "select count(*) from audit_log where action = 'deleted' and actor_name = 'erasing' and \
            object_name is null and fields_before is null and fields_after is null";
        assert_eq!(server.query_number(count).await, 2);
        assert_eq!(server.query_number(&format!("{count} and object_id = '{con}'")).await, 1);
        assert_eq!(
            server.query_number("select count(*) from audit_log where object_id like '%Ada%'").await,
            0
        );
    }
);

both_backends!(
    async fn erasures_are_listed_in_pages(db: TestDb) {
        let server = TestServer::start(&db).await;
        let key = erasing_key(&server).await;
        let mut ids = Vec::new();
        for name in ["a", "b", "c"] {
            let accepted = erase(&server, &key, &json!({ "sender_id": name })).await;
            ids.push(wait_until_done(&server, &key, &accepted).await["id"].clone());
        }

        let page = async |query: &str| {
            let listed =
                server.request("GET", &format!("/v1/erasures?limit=2{query}")).bearer(&key).send().await;
            listed.json()["data"].clone()
        };
        let first = page("").await;
        let second = page(&format!("&cursor={}", first["next_cursor"].as_str().unwrap())).await;

        let items = [first["items"].as_array().unwrap().clone(), second["items"].as_array().unwrap().clone()];
        let listed: Vec<Value> = items.concat().iter().map(|erasure| erasure["id"].clone()).collect();
        let mut sorted = ids.clone();
        sorted.sort_by_key(Value::to_string);
        assert_eq!(listed, sorted, "made in the same millisecond, they are ordered by their ids");
        assert_eq!(second["next_cursor"], Value::Null);
        assert_eq!(items[0][0]["removed"]["conversations"], 0);
    }
);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_that_is_being_revoked_erases_nobody() {
    let db = store::postgres().await;
    let server = TestServer::start(&db).await;
    let key = erasing_key(&server).await;
    let mut revoking = store::open(&db).await.begin().await.unwrap();
    let Conn::Postgres(conn) = revoking.conn() else { unreachable!("it is PostgreSQL") };
    for statement in [
        "select 1 from workspace_state for update",
        "update api_keys set revoked_at = 1 where name = 'erasing'",
    ] {
        sqlx::query(statement).execute(&mut *conn).await.unwrap();
    }

    let person = json!({ "sender_id": "ada" });
    let revoke = async {
        let waits = "select count(*) from pg_stat_activity where wait_event_type = 'Lock' \
            and query like '%workspace_state%' and datname = current_database()";
        let is_waiting = async || (seed::query_number(&db, waits).await >= 1).then_some(());
        wait_for("the erasure to wait for the workspace", is_waiting).await;
        revoking.commit().await.unwrap();
    };
    let (refused, ()) = tokio::join!(erase(&server, &key, &person), revoke);

    assert_eq!(refused.status, 401, "{}", refused.text());
    assert_eq!(server.query_number("select count(*) from erasures").await, 0);
}
