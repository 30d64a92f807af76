//! The deletion of a workspace: refused unless it is suspended, and complete.

use std::collections::BTreeSet;
use std::time::Duration;

use rejoinder::store::workspace_removal::{LAST_REMOVED_TABLES, REMOVED_TABLES, RETAINED_TABLES};
use serde_json::json;

use super::Operator;
use crate::support::db::{Backend, both_backends};
use crate::support::seed;
use crate::support::server::{TestServer, WIDGET};
use crate::support::wait::{wait_at_most, wait_for};

both_backends!(
    async fn every_row_but_the_ledger_and_the_log_is_removed(db: TestDb) {
        let server = TestServer::start(&db).await;
        let operator = Operator::new(&server).await;
        let path = format!("/workspaces/{}", operator.workspace("demo").await);
        let sent = server.post_message(WIDGET, "Hi").send().await;
        assert_eq!(sent.status, 200, "{}", sent.text());
        let secret = "a text that is to be gone";
        server.store_message(None, secret).await;
        let base = json!({ "slug": "help" });
        let base = server.request("POST", "/v1/knowledge_bases").bearer(&server.keys.full).json(&base);
        let base = base.send().await.json()["data"]["id"].as_str().unwrap().to_owned();
        let document = json!({ "title": "Returns", "text": "Within 14 days." });
        let documents = format!("/v1/knowledge_bases/{base}/documents");
        let written =
            server.request("POST", &documents).bearer(&server.keys.full).json(&document).send().await;
        assert!(written.status < 300, "{}", written.text());
        let ledger = "select count(*) from ledger join workspaces on workspaces.id = ledger.workspace_id";
        let before = server.query_number(ledger).await;

        let too_early = operator.request("DELETE", &path).send().await;
        operator.request("POST", &format!("{path}/suspend")).send().await;
        let deleted = operator.request("DELETE", &path).send().await;

        assert_eq!((too_early.status, too_early.header("rejoinder-error")), (409, Some("conflict")));
        assert_eq!(deleted.status, 202);
        assert!(deleted.json()["data"]["deleted_at"].is_string());
        let is_gone = async || (operator.get(&path).await.status == 404).then_some(());
        wait_for("the workspace to be gone", is_gone).await;
        for table in REMOVED_TABLES.iter().chain(&LAST_REMOVED_TABLES) {
            let count = format!(
                "select count(*) from {table} where workspace_id not in (select id from workspaces where removed_at is null)"
            );
            assert_eq!(server.query_number(&count).await, 0, "{table}");
        }
        assert_eq!(server.query_number(ledger).await, before, "the ledger is kept");
        let rest = seed::contents(&db).await.join("\n");
        assert!(!rest.contains(secret), "no table has the text");
        let stored = db.stored_bytes();
        let has_text = stored.windows(secret.len()).any(|window| window == secret.as_bytes());
        assert!(!has_text, "neither the dump nor the files have the text");
        let is_rejected = async || (server.get("/v1/me").await.status == 401).then_some(());
        wait_at_most(Duration::from_secs(5), "the key to be rejected", is_rejected).await;
        let other = server.request("GET", "/v1/balance").bearer(&server.keys.other_workspace);
        assert_eq!(other.send().await.status, 200);
        let again = operator.post("/workspaces", &json!({ "slug": "demo", "name": "Demo" })).await;
        assert_eq!(again.status, 200, "its slug is free: {}", again.text());
    }
);

both_backends!(
    async fn a_workspace_that_is_being_deleted_is_not_resumed(db: TestDb) {
        let server = TestServer::start(&db).await;
        let operator = Operator::new(&server).await;
        let path = format!("/workspaces/{}", operator.workspace("other").await);
        operator.request("POST", &format!("{path}/suspend")).send().await;
        operator.request("DELETE", &path).send().await;

        let resumed = operator.request("POST", &format!("{path}/resume")).send().await;

        assert!([404, 409].contains(&resumed.status), "{}", resumed.status);
    }
);

both_backends!(
    async fn every_table_of_a_workspace_is_either_removed_or_kept(db: TestDb) {
        let tables = match db.backend() {
            Backend::Postgres => {
                "select table_name::text from information_schema.columns \
                 where table_schema = current_schema() and column_name = 'workspace_id'"
            }
            Backend::Sqlite => {
                "select m.name from sqlite_master m join pragma_table_info(m.name) c on c.name = 'workspace_id' \
                 where m.type = 'table'"
            }
        };

        let found: BTreeSet<String> = seed::query_texts(&db, tables).await.into_iter().collect();

        let known = REMOVED_TABLES.iter().chain(&LAST_REMOVED_TABLES).chain(&RETAINED_TABLES);
        assert_eq!(found, known.map(|table| (*table).to_owned()).collect());
    }
);
