//! The entries of the audit log that the operator's commands write.

use std::sync::Arc;

use rejoinder::domain::audit::Actor;
use rejoinder::domain::ids::EndpointId;
use rejoinder::domain::money::Money;
use rejoinder::domain::seal::{SealKey, SealKeys};
use rejoinder::domain::webhook_endpoint::DisabledReason;
use rejoinder::service::apply_workspace::Mode;
use rejoinder::service::credit::{CreditOutcome, credit};
use rejoinder::service::reencrypt::reencrypt;
use rejoinder::service::restore;
use rejoinder::store::{Conn, Tenant, webhook_endpoints, workspaces};
use rejoinder::writer::{DisableEndpoint, decide_inline};
use serde_json::{Value, json};

use super::operator::Operator;
use crate::support::db::{TestDb, both_backends};
use crate::support::{seed, store};

const FILE: &str = r#"
[workspace]
slug = "shop"
name = "Shop"
balance = "1.00"

[[assistants]]
slug = "desk"
name = "Desk"
system_prompt = "You answer."
tools = ["orders"]

[[tools]]
slug = "orders"
kind = "webhook"
description = "Looks up an order"
method = "GET"
url = "https://shop.example/orders"
headers = { Authorization = { env = "TOKEN" }, X-Shop = "canary-plain" }

[[webhook_endpoints]]
slug = "crm"
url = "https://crm.example/hooks"

[[conversations]]
widget_uuid = "0b5f4c1e-9d3a-4e57-8f21-6a7c2d9e1b40"
assistant = "desk"
type = "test"
"#;

/// The entries: their actor, action, object and fields, sorted.
async fn entries(db: &TestDb) -> Vec<[String; 6]> {
    let select = "select actor_kind || '|' || actor_name || '|' || action || '|' || object_kind || '|' || \
        coalesce(object_name, '-') || '|' || coalesce(fields_after, 'null') from audit_log";
    let mut rows = seed::query_texts(db, select).await;
    rows.sort();
    rows.iter()
        .map(|row| {
            let parts: Vec<_> = row.splitn(6, '|').map(str::to_owned).collect();
            parts.try_into().unwrap()
        })
        .collect()
}

fn summaries(entries: &[[String; 6]]) -> Vec<String> {
    entries
        .iter()
        .map(|[_, actor, action, kind, name, _]| format!("{actor}: {action} {kind} {name}"))
        .collect()
}

fn fields(entries: &[[String; 6]], kind: &str) -> Value {
    let entry = entries.iter().find(|entry| entry[3] == kind).unwrap();
    serde_json::from_str(&entry[5]).unwrap()
}

async fn operator(db: &TestDb) -> Operator {
    let operator = Operator::of(store::open(db).await);
    operator.set("TOKEN", "canary-t0ken");
    operator
}

both_backends!(
    async fn each_change_of_an_apply_is_an_entry(db: TestDb) {
        let operator = operator(&db).await;

        operator.try_apply(FILE, Mode::DryRun).await.unwrap();
        assert_eq!(entries(&db).await, Vec::<[String; 6]>::new(), "a dry run changes nothing");
        operator.apply(FILE).await;

        let log = entries(&db).await;
        assert_eq!(
            summaries(&log),
            [
                "rejoinder apply: created assistant desk",
                "rejoinder apply: created conversation -",
                "rejoinder apply: created tool orders",
                "rejoinder apply: created webhook_endpoint crm",
                "rejoinder apply: created workspace shop",
                "rejoinder apply: credited workspace shop",
            ]
        );
        assert!(log.iter().all(|entry| entry[0] == "command_line"));
        assert_eq!(fields(&log, "assistant")["system_prompt"], "You answer.");
        let text = format!("{log:?}");
        for secret in ["canary", "sealed", "whsec_", "0b5f4c1e"] {
            assert!(!text.contains(secret), "{secret}: {text}");
        }

        operator.apply(FILE).await;
        assert_eq!(entries(&db).await, log, "nothing has changed");
        operator.apply(&FILE.replace("You answer.", "You help.")).await;
        let changed: Vec<_> = entries(&db).await.into_iter().filter(|entry| !log.contains(entry)).collect();
        assert_eq!(summaries(&changed), ["rejoinder apply: updated assistant desk"]);
        assert_eq!(fields(&changed, "assistant"), json!({"system_prompt": "You help."}));
    }
);

both_backends!(
    async fn credit_is_an_entry_once(db: TestDb) {
        let operator = operator(&db).await;
        operator.apply("[workspace]\nslug = \"shop\"\nname = \"Shop\"\n").await;
        let give = async || {
            let actor = Arc::new(Actor::command("rejoinder credit"));
            let (db, clock, ids) = (&operator.db, &operator.clock, &operator.ids);
            credit(db, clock, ids, "shop", Money(2_000_000), "invoice-1", actor).await.unwrap()
        };

        let granted = give().await;
        let again = give().await;

        assert!(matches!(granted, CreditOutcome::Granted(_)));
        assert!(matches!(again, CreditOutcome::AlreadyGranted { .. }));
        let mut log = entries(&db).await;
        log.retain(|entry| entry[1] == "rejoinder credit");
        assert_eq!(summaries(&log), ["rejoinder credit: credited workspace shop"]);
        assert_eq!(fields(&log, "workspace"), json!({"amount": "2.00", "reference": "invoice-1"}));
    }
);

both_backends!(
    async fn an_endpoint_that_fails_is_disabled_by_the_server(db: TestDb) {
        let operator = operator(&db).await;
        operator.apply(FILE).await;
        let find = async |conn: Conn<'_>| workspaces::find_by_slug(conn, "shop").await;
        let workspace = operator.db.read(Tenant::Process, find).await.unwrap().unwrap().id;
        let list =
            async |conn: Conn<'_>| webhook_endpoints::list_by_workspaces(conn, &[workspace].into()).await;
        let crm = operator.db.read(Tenant::Process, list).await.unwrap().remove(0);
        let endpoint: EndpointId = crm.id;
        let command = DisableEndpoint { workspace, endpoint, reason: DisabledReason::Gone, url: crm.url };

        for _ in 0..2 {
            let mut tx = operator.db.begin().await.unwrap();
            decide_inline(tx.conn(), &operator.clock, &operator.ids, &command).await.unwrap().unwrap();
            tx.commit().await.unwrap();
        }

        let mut log = entries(&db).await;
        log.retain(|entry| entry[0] == "server");
        assert_eq!(summaries(&log), ["rejoinder: updated webhook_endpoint crm"]);
        assert_eq!(fields(&log, "webhook_endpoint"), json!({"enabled": false, "disabled_reason": "gone"}));
    }
);

both_backends!(
    async fn what_concerns_the_database_belongs_to_no_workspace(db: TestDb) {
        let operator = operator(&db).await;
        operator.apply(FILE).await;
        let keys = SealKeys::from(SealKey::new([7; 32]));

        reencrypt(&operator.db, &keys, &operator.clock, &operator.ids).await.unwrap();
        let restored = restore::finish(&operator.db, &operator.clock, &operator.ids).await.unwrap();

        let mut log = entries(&db).await;
        log.retain(|entry| entry[1] != "rejoinder apply");
        assert_eq!(
            summaries(&log),
            ["rejoinder reencrypt: rotated secret_key -", "rejoinder restored: updated database -"]
        );
        assert_eq!(fields(&log, "database"), json!({"epoch": restored.epoch}));
        let without = "select count(*) from audit_log where workspace_id is null";
        assert_eq!(seed::query_number(&db, without).await, 2);
    }
);
