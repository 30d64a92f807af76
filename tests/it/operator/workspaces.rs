//! Workspaces that an operator creates, updates and gives credit, and those that a file made.

use futures::future::join_all;
use serde_json::{Value, json};

use super::Operator;
use crate::support::db::both_backends;
use crate::support::http::Response;
use crate::support::server::TestServer;
use crate::support::workspaces::try_apply;

both_backends!(
    async fn a_workspace_is_created_updated_and_listed(db: TestDb) {
        let server = TestServer::start(&db).await;
        let operator = Operator::new(&server).await;
        let body = json!({
            "slug": "acme", "name": "Acme", "balance": "25.00", "pricing": { "api": "0.02" },
            "tokens_per_day": 1000, "allow_hosts": ["crm.internal:8080"],
        });

        let created = operator.post("/workspaces", &body).await;
        let created = created.json()["data"].clone();
        let path = format!("/workspaces/{}", created["id"].as_str().unwrap());
        let change = json!({ "name": "Acme Ltd", "tokens_per_day": null, "balance_low": "5.00", "pricing": { "widget": "0.03" } });
        let updated = operator.request("PATCH", &path).json(&change).send().await.json()["data"].clone();

        assert_eq!((&created["balance"], &created["from_file"]), (&json!("25.00"), &json!(false)));
        assert_eq!(created["pricing"], json!({ "widget": "0.01", "test": "0.00", "api": "0.02" }));
        assert_eq!(updated["pricing"], json!({ "widget": "0.03", "test": "0.00", "api": "0.02" }));
        assert_eq!((&updated["name"], &updated["tokens_per_day"]), (&json!("Acme Ltd"), &json!(null)));
        assert_eq!(updated["allow_hosts"], json!(["crm.internal:8080"]));
        assert_eq!(operator.get(&path).await.json()["data"], updated);
        assert_eq!(operator.workspace("acme").await, created["id"].as_str().unwrap());
        let id = created["id"].as_str().unwrap();
        let audit = operator.get(&format!("/audit?object_id={id}&action=updated")).await.json();
        let entry = &audit["data"]["items"][0];
        assert_eq!(entry["before"]["name"], "Acme");
        assert_eq!(entry["after"]["name"], "Acme Ltd");
        assert!(entry["after"].get("slug").is_none(), "only what differs");
    }
);

both_backends!(
    async fn the_retention_of_a_workspace_is_set_changed_and_removed(db: TestDb) {
        let server = TestServer::start(&db).await;
        let operator = Operator::new(&server).await;
        let body = json!({ "slug": "acme", "name": "Acme", "retention": { "conversations": "365d", "journals": "30d" } });

        let created = operator.post("/workspaces", &body).await.json()["data"].clone();
        let id = created["id"].as_str().unwrap();
        let change = json!({ "retention": { "journals": null, "bookings": "90d" } });
        let path = format!("/workspaces/{id}");
        let updated = operator.request("PATCH", &path).json(&change).send().await.json()["data"].clone();
        let audit = operator.get(&format!("/audit?object_id={id}&action=updated")).await.json();

        let all = |conversations, journals, bookings| json!({ "conversations": conversations, "journals": journals, "bookings": bookings });
        assert_eq!(created["retention"], all(Some("365d"), Some("30d"), None::<&str>));
        assert_eq!(updated["retention"], all(Some("365d"), None, Some("90d")));
        assert_eq!(audit["data"]["items"][0]["before"], json!({ "retention": created["retention"] }));
        assert_eq!(audit["data"]["items"][0]["after"], json!({ "retention": updated["retention"] }));
    }
);

both_backends!(
    async fn of_two_that_create_a_slug_one_is_refused(db: TestDb) {
        let server = TestServer::start(&db).await;
        let operator = Operator::new(&server).await;
        let body = json!({ "slug": "acme", "name": "Acme" });

        let answers = join_all((0..8).map(|_| operator.post("/workspaces", &body))).await;

        let mut statuses: Vec<_> = answers.iter().map(|answer| answer.status).collect();
        statuses.sort_unstable();
        assert_eq!(statuses, [200, 409, 409, 409, 409, 409, 409, 409]);
    }
);

both_backends!(
    async fn what_is_invalid_is_refused_by_name(db: TestDb) {
        let server = TestServer::start(&db).await;
        let operator = Operator::new(&server).await;

        for (body, field) in [
            (json!({ "name": "A" }), "slug"),
            (json!({ "slug": "A B", "name": "A" }), "slug"),
            (json!({ "slug": "a", "name": "A", "balance": "-1" }), "balance"),
            (json!({ "slug": "a", "name": "A", "pricing": { "voice": "1" } }), "pricing.voice"),
            (json!({ "slug": "a", "name": "A", "pricing": { "api": null } }), "pricing.api"),
            (json!({ "slug": "a", "name": "A", "retention": { "journals": "12h" } }), "retention.journals"),
            (json!({ "slug": "a", "name": "A", "retention": { "messages": "30d" } }), "retention.messages"),
            (json!({ "slug": "a", "name": "A", "allow_hosts": ["http://x/"] }), "allow_hosts"),
            (json!({ "slug": "a", "name": "A", "tokens_per_day": 0 }), "tokens_per_day"),
            (json!({ "slug": "a", "name": "A", "prices": {} }), "prices"),
        ] {
            let answer = operator.post("/workspaces", &body).await;
            assert_eq!(answer.status, 400, "{body}");
            assert!(answer.text().contains(&format!("'{field}'")), "{}", answer.text());
        }
        assert_eq!(operator.get("/workspaces/wsp_01k9z3x8f5e4r9t2m6q7w8y0ab").await.status, 404);
    }
);

both_backends!(
    async fn null_clears_a_setting_or_is_refused(db: TestDb) {
        let server = TestServer::start(&db).await;
        let operator = Operator::new(&server).await;
        let body =
            json!({ "slug": "acme", "name": "Acme", "balance_low": "5.00", "tokens_per_conversation": 9 });
        let created = operator.post("/workspaces", &body).await.json();
        let path = format!("/workspaces/{}", created["data"]["id"].as_str().unwrap());
        let update = async |body: Value| operator.request("PATCH", &path).json(&body).send().await;

        let cleared =
            json!({ "balance_low": null, "tokens_per_conversation": null, "default_assistant_id": null });
        let cleared = update(cleared).await;

        assert_eq!(cleared.status, 200, "{}", cleared.text());
        for field in ["balance_low", "tokens_per_conversation", "default_assistant_id"] {
            assert_eq!(cleared.json()["data"][field], Value::Null, "{field}");
        }
        for field in ["name", "auto_create_conversations", "pricing", "retention", "allow_hosts"] {
            let refused = update(json!({ field: null, "tokens_per_day": 5 })).await;
            let text = format!("Field '{field}' must not be null.");
            assert_eq!((refused.status, refused.json()["message"].as_str()), (400, Some(text.as_str())));
        }
        assert_eq!(operator.get(&path).await.json()["data"]["tokens_per_day"], Value::Null);
    }
);

both_backends!(
    async fn the_settings_of_a_file_are_changed_there_and_those_of_the_api_here(db: TestDb) {
        let server = TestServer::start(&db).await;
        let operator = Operator::new(&server).await;
        let demo = format!("/workspaces/{}", operator.workspace("demo").await);
        operator.post("/workspaces", &json!({ "slug": "acme", "name": "Acme" })).await;

        let refused = operator.request("PATCH", &demo).json(&json!({ "name": "X" })).send().await;
        let file = "[workspace]\nslug = \"acme\"\nname = \"File\"\n";
        let clock = server.services().clock.as_ref();
        let applied = try_apply(server.db(), clock, &server.tool, file).await;

        assert_eq!((refused.status, refused.header("rejoinder-error")), (409, Some("conflict")));
        assert!(applied.unwrap_err().to_string().contains("was made through the API"));
    }
);

both_backends!(
    async fn a_workspace_sets_its_own_default_assistant(db: TestDb) {
        let server = TestServer::start(&db).await;
        let operator = Operator::new(&server).await;
        let created = operator.post("/workspaces", &json!({ "slug": "acme", "name": "Acme" })).await.json();
        let keys = format!("/workspaces/{}/keys", created["data"]["id"].as_str().unwrap());
        let scopes = json!({ "name": "back end", "scopes": ["config", "messages:write", "read"] });
        let key = operator.post(&keys, &scopes).await.json()["data"]["secret"].as_str().unwrap().to_owned();
        let send = async |method: &str, path: &str, body: Value| {
            server.request(method, path).bearer(&key).json(&body).send().await
        };
        let assistant = json!({ "slug": "helper", "name": "Helper", "system_prompt": "You help." });
        let assistant =
            send("POST", "/v1/assistants", assistant).await.json()["data"]["assistant"]["id"].clone();
        let set =
            async |id: &Value| send("PATCH", "/v1/workspace", json!({ "default_assistant_id": id })).await;

        let done = set(&assistant).await;
        let conversation = send("POST", "/v1/conversations", json!({})).await;
        let unknown = set(&json!("ast_01k9z3x8f5e4r9t2m6q7w8y0ab")).await;
        let me = server.request("GET", "/v1/me").bearer(&key).send().await.json();
        let removed = set(&Value::Null).await;

        assert_eq!((done.status, &done.json()["data"]["default_assistant_id"]), (200, &assistant));
        assert_eq!(conversation.status, 200, "{}", conversation.text());
        assert_eq!((unknown.status, unknown.header("rejoinder-error")), (404, Some("assistant_not_found")));
        assert_eq!(me["data"]["workspace"]["default_assistant_id"], assistant);
        assert_eq!((removed.status, &removed.json()["data"]["default_assistant_id"]), (200, &Value::Null));
        let entries = server.query_number(
            "select count(*) from audit_log where object_kind = 'workspace' and actor_kind = 'key' \
             and route = 'PATCH /v1/workspace'",
        );
        assert_eq!(entries.await, 2);
        let of_file = server.request("PATCH", "/v1/workspace").bearer(&server.keys.full);
        let of_file = of_file.json(&json!({ "default_assistant_id": null })).send().await;
        assert_eq!((of_file.status, of_file.header("rejoinder-error")), (409, Some("conflict")));
    }
);

both_backends!(
    async fn a_reference_of_credit_counts_once(db: TestDb) {
        let server = TestServer::start(&db).await;
        let operator = Operator::new(&server).await;
        let path = format!("/workspaces/{}/credit", operator.workspace("demo").await);
        let give = |amount: &str, reference: &str| {
            let body = json!({ "amount": amount, "reference": reference });
            let (operator, path) = (&operator, &path);
            async move { operator.post(path, &body).await }
        };

        let at_once = join_all((0..5).map(|_| give("5.00", "invoice-1"))).await;
        let other_amount = give("6.00", "invoice-1").await;
        let too_much = give("-100.00", "correction").await;
        let taken = give("-1.00", "correction-2").await;
        let nothing = give("0.00", "correction-3").await;

        let credited: Vec<_> =
            at_once.iter().filter(|answer| answer.json()["data"]["credited"] == true).collect();
        assert_eq!(credited.len(), 1);
        assert_eq!(at_once[4].json()["data"]["balance"], "15.00");
        let repeated = at_once.iter().find(|answer| answer.json()["data"]["credited"] == false).unwrap();
        let message = |answer: &Response| answer.json()["message"].as_str().unwrap().to_owned();
        assert_eq!(message(credited[0]), "Credit granted successfully.");
        assert_eq!(message(repeated), "The reference has counted already. Nothing was credited.");
        assert_eq!(message(&taken), "Credit taken back successfully.");
        assert_eq!((nothing.status, message(&nothing).as_str()), (400, "Field 'amount' must not be zero."));
        assert_eq!((other_amount.status, too_much.status), (409, 409));
        assert_eq!(taken.json()["data"]["balance"], "14.00");
        assert_eq!(server.balance().await, "14.00");
        let entries = server
            .query_number(
                "select count(*) from audit_log where action = 'credited' and actor_kind = 'operator'",
            )
            .await;
        assert_eq!(entries, 2);
    }
);

both_backends!(
    async fn the_audit_log_and_the_usage_are_filtered_by_workspace(db: TestDb) {
        let server = TestServer::start(&db).await;
        let operator = Operator::new(&server).await;
        let created = operator.post("/workspaces", &json!({ "slug": "acme", "name": "Acme" })).await.json();
        let acme = created["data"]["id"].as_str().unwrap();

        let of_acme = operator.get(&format!("/audit?workspace_id={acme}")).await.json();
        let unused = operator.get(&format!("/usage?start=2026-03-15&workspace_id={acme}")).await.json();

        let entries = of_acme["data"]["items"].as_array().unwrap();
        assert_eq!((entries.len(), entries[0]["workspace_id"].as_str()), (1, Some(acme)));
        assert_eq!(unused["data"]["items"], json!([]));
        let no_id = "Field 'workspace_id' must be an id of the form wsp_….";
        let repeated = format!("{acme}&workspace_id={acme}");
        let twice = "Query parameter 'workspace_id' may be given only once.";
        for (workspace, text) in [("acme", no_id), (repeated.as_str(), twice)] {
            for path in ["/audit?", "/usage?start=2026-03-15&"] {
                let refused = operator.get(&format!("{path}workspace_id={workspace}")).await;
                assert_eq!((refused.status, &refused.json()["message"]), (400, &json!(text)), "{path}");
            }
        }
    }
);

both_backends!(
    async fn the_process_that_answers_is_listed(db: TestDb) {
        let server = TestServer::start(&db).await;
        let operator = Operator::new(&server).await;

        let listed = operator.get("/processes").await.json();

        let processes = listed["data"]["items"].as_array().unwrap();
        let own: Vec<_> = processes.iter().filter(|process| process["is_this"] == true).collect();
        assert_eq!(own.len(), 1);
        assert_eq!(own[0]["lease_expires_at"].is_string(), server.db().is_shared());
    }
);
