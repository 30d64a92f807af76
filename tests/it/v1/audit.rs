//! The audit log: filters, pages, the export, and the addresses that it forgets.

use std::time::Duration;

use rejoinder::domain::account::Scope;
use serde_json::{Value, json};

use super::keys::{create, create_in};
use crate::support::db::both_backends;
use crate::support::described;
use crate::support::server::{Setup, TestServer};

/// Creates this many keys through the API.
async fn create_keys(server: &TestServer, key: &str, count: usize) {
    for _ in 0..count {
        let body = json!({ "name": "x", "scopes": ["read"] });
        let answer = server.request("POST", "/v1/keys").bearer(key).json(&body).send().await;
        assert_eq!(answer.status, 200);
    }
}

async fn items(server: &TestServer, key: &str, query: &str) -> Vec<Value> {
    let answer = server.request("GET", &format!("/v1/audit{query}")).bearer(key).send().await;
    assert_eq!(answer.status, 200, "{query}: {}", answer.text());
    answer.json()["data"]["items"].as_array().unwrap().clone()
}

both_backends!(
    async fn entries_are_paged_filtered_and_of_one_workspace(db: TestDb) {
        described::check_responses();
        let server = Setup::default().system_clock().start(&db).await;
        let (key, id) = create(&server, Scope::ALL).await;
        let (other, _) = create_in(&server, "other", Scope::ALL).await;
        create_keys(&server, &key, 5).await;

        let of_key = format!("?actor={id}");
        let all = items(&server, &key, &of_key).await;
        let first =
            server.request("GET", &format!("/v1/audit{of_key}&limit=2")).bearer(&key).send().await.json();
        let cursor = first["data"]["next_cursor"].as_str().unwrap();
        let second = items(&server, &key, &format!("{of_key}&limit=3&cursor={cursor}")).await;

        assert_eq!(all.len(), 5);
        assert_eq!(all[0]["actor"], json!({ "kind": "key", "id": id, "name": "tests" }));
        assert_eq!(all[0]["route"], "POST /v1/keys");
        assert_eq!(all[0]["address"], "127.0.0.1");
        let ids: Vec<_> = all.iter().map(|entry| entry["id"].as_str().unwrap()).collect();
        assert!(ids.is_sorted_by(|newer, older| newer > older), "{ids:?}");
        let paged = first["data"]["items"].as_array().unwrap().iter().chain(&second);
        assert_eq!(paged.cloned().collect::<Vec<_>>(), all);
        assert!(items(&server, &other, &of_key).await.is_empty());
        let time = all[0]["created_at"].as_str().unwrap();
        for (query, count) in [
            ("&action=created", 5),
            ("&action=revoked", 0),
            ("&object_kind=key", 5),
            ("&object_kind=tool", 0),
            (&*format!("&object_id={}", all[2]["object"]["id"].as_str().unwrap()), 1),
            ("&created_after=2001-01-01T00:00:00Z", 5),
            ("&created_before=2001-01-01T00:00:00Z", 0),
            ("&created_after=2101-01-01T00:00:00Z", 0),
        ] {
            assert_eq!(
                items(&server, &key, &format!("{of_key}{query}")).await.len(),
                count,
                "{query} {time}"
            );
        }
        for query in [
            "?action=x",
            "?object_kind=keys",
            "?created_after=x",
            "?limit=0",
            "?cursor=x",
            "?actors=x",
            "?actor=%00",
            "?object_id=a%00",
        ] {
            let answer = server.request("GET", &format!("/v1/audit{query}")).bearer(&key).send().await;
            assert_eq!(answer.status, 400, "{query}");
        }
    }
);

both_backends!(
    async fn an_export_has_all_entries_and_leaves_one(db: TestDb) {
        let server = Setup::default().system_clock().start(&db).await;
        let (key, _) = create(&server, Scope::ALL).await;
        let insert = "insert into audit_log (id, workspace_id, created_at, actor_kind, actor_name, action, object_kind, \
            object_id, fields_after) select ";
        let ids = crate::support::seed::random_id(&db);
        let rows = format!(
            "{insert} {ids}, id, 0, 'server', 'n', 'created', 'database', 'database', '{{\"a\": 1}}' from workspaces \
             cross join (with recursive n (i) as (select 1 union all select i + 1 from n where i < 450) \
             select i from n) as numbers where slug = 'demo'"
        );
        crate::support::seed::execute(&db, &rows).await;

        let request = server.request("GET", "/v1/audit?object_kind=database").bearer(&key);
        let exported = request.header("accept", "application/x-ndjson").send().await;

        assert_eq!(exported.header("content-type"), Some("application/x-ndjson"));
        let lines: Vec<Value> =
            exported.text().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(lines.len(), 450, "more than one read");
        assert_eq!(lines[0]["after"], json!({ "a": 1 }));
        let exports = items(&server, &key, "?action=exported").await;
        assert_eq!(exports.len(), 1);
        assert_eq!(exports[0]["object"]["kind"], "audit_log");
    }
);

both_backends!(
    async fn an_old_entry_loses_its_address_alone(db: TestDb) {
        let server = TestServer::start(&db).await;
        let (key, id) = create(&server, Scope::ALL).await;
        create_keys(&server, &key, 1).await;
        let before = items(&server, &key, &format!("?actor={id}")).await;

        server.worker().remove_old_addresses().await.unwrap();
        let kept = items(&server, &key, &format!("?actor={id}")).await;
        server.advance_clock(&db, Duration::from_hours(24 * 91)).await;
        server.worker().remove_old_addresses().await.unwrap();
        let after = items(&server, &key, &format!("?actor={id}")).await;

        assert_eq!((before[0]["address"].is_string(), &kept), (true, &before));
        let mut expected = before[0].clone();
        expected["address"] = Value::Null;
        assert_eq!(after, [expected]);
    }
);
