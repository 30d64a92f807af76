//! The audit log, as the operator and as the owner of a workspace read it.

use rejoinder::domain::account::Scope;
use serde_json::{Value, json};

use super::Operator;
use crate::support::db::both_backends;
use crate::support::server::TestServer;
use crate::v1::keys::create;

/// The entry of an operator's change. The opening credit, which `rejoinder apply` has given, has the same time.
fn by_operator(page: &Value) -> Value {
    let items = page["data"]["items"].as_array().unwrap();
    items.iter().find(|entry| entry["actor"]["kind"] == "operator").unwrap().clone()
}

both_backends!(
    async fn a_workspace_does_not_see_which_operator_acted(db: TestDb) {
        let server = TestServer::start(&db).await;
        let operator = Operator::new(&server).await;
        let workspace = operator.workspace("demo").await;
        let body = json!({ "amount": "1.00", "reference": "audit-test" });
        let credited = operator.post(&format!("/workspaces/{workspace}/credit"), &body).await;
        assert_eq!(credited.status, 200, "{}", credited.text());
        let (key, _) = create(&server, &[Scope::Read]).await;

        let own = server.request("GET", "/v1/audit?action=credited").bearer(&key).send().await.json();
        let lines = server.request("GET", "/v1/audit?action=credited").bearer(&key);
        let lines = lines.header("accept", "application/x-ndjson").send().await;
        let path = format!("/audit?workspace_id={workspace}&action=credited");
        let of_operator = by_operator(&operator.get(&path).await.json());

        let entry = by_operator(&own);
        assert_eq!(entry["actor"], json!({ "kind": "operator", "id": null, "name": null }));
        assert_eq!(entry["address"], Value::Null);
        let line = entry.to_string();
        assert!(lines.text().lines().any(|exported| exported == line), "{}", lines.text());
        assert_eq!((&of_operator["id"], &of_operator["actor"]["name"]), (&entry["id"], &json!("billing")));
        assert_eq!(of_operator["address"], "127.0.0.1");
    }
);

both_backends!(
    async fn a_malformed_workspace_is_refused_by_name(db: TestDb) {
        let server = TestServer::start(&db).await;
        let operator = Operator::new(&server).await;

        for path in ["/audit?workspace_id=x", "/usage?start=2026-03-01&workspace_id=x"] {
            let refused = operator.get(path).await;
            let text = "Field 'workspace_id' must be an id of the form wsp_….";
            assert_eq!((refused.status, &refused.json()["message"]), (400, &json!(text)), "{path}");
        }
        let unknown = operator.get("/audit?workspace_id=wsp_00000000000000000000000001").await;
        assert_eq!((unknown.status, &unknown.json()["data"]["items"]), (200, &json!([])));
    }
);
