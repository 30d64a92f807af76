//! Identified visitors in the store: their secrets, their claims and their conversations.

use std::time::Duration;

use rejoinder::domain::clock::Micros;
use rejoinder::domain::conversation::{Conversation, ConversationKind};
use rejoinder::domain::identity::{Identity, IdentitySecret};
use rejoinder::domain::ids::IdentitySecretId;
use rejoinder::domain::seal::SealedSecret;
use rejoinder::domain::turn::Api;
use rejoinder::store::{Conn, Tenant, conversations, identity_secrets};
use rejoinder::writer::{Admission, NewConversation};
use serde_json::json;
use uuid::Uuid;

use crate::support::db::both_backends;
use crate::support::seed::{self, Seed};
use crate::support::store;
use crate::support::writer_process::{Process, admission, expect_created, new_conversation};

fn identity(subject: &str, plan: &str, expires_at: i64) -> Identity {
    let serde_json::Value::Object(variables) = json!({ "plan": plan }) else { unreachable!() };
    Identity { subject: subject.to_owned(), variables, expires_at: Micros(expires_at) }
}

async fn create(process: &Process, seed: &Seed, identity: Option<Identity>) -> Conversation {
    let new = NewConversation { identity, ..new_conversation(seed, ConversationKind::Widget) };
    expect_created(process.writer.execute(new).await).conversation
}

async fn send(process: &Process, conversation: &Conversation, identity: Identity) {
    let message = admission(conversation, Api::Widget);
    process.writer.execute(Admission { identity: Some(identity), ..message }).await.unwrap();
}

async fn find(process: &Process, conversation: &Conversation) -> Conversation {
    let mut read = process.db.acquire_read().await.unwrap();
    conversations::find(read.conn(), conversation.workspace, conversation.id).await.unwrap().unwrap()
}

both_backends!(
    async fn secrets_belong_to_one_assistant(db: TestDb) {
        let seeded = seed::workspace(&db, 1).await;
        let store = store::open(&db).await;
        let (workspace, assistant) = (seeded.workspace, seeded.assistant);
        let secret = |number: u128| IdentitySecret {
            workspace,
            id: IdentitySecretId(Uuid::from_u128(number)),
            assistant,
            secret: SealedSecret::from_stored(format!("sealed {number}")),
            created_at: Micros(7),
        };
        let list = async || {
            let mut read = store.acquire_read().await.unwrap();
            let listed = identity_secrets::list(read.conn(), workspace, assistant).await.unwrap();
            listed
                .into_iter()
                .map(|secret| (secret.id.0.as_u128(), secret.secret.as_str().to_owned()))
                .collect::<Vec<_>>()
        };
        let expected = |numbers: &[u128]| -> Vec<(u128, String)> {
            numbers.iter().map(|number| (*number, format!("sealed {number}"))).collect()
        };

        for number in [2, 1] {
            let insert = async |conn: Conn<'_>| identity_secrets::insert(conn, &secret(number)).await;
            store.write(Tenant::from(workspace), insert).await.unwrap();
        }
        let both = list().await;
        let delete = async |conn: Conn<'_>| identity_secrets::delete(conn, workspace, secret(1).id).await;
        store.write(Tenant::from(workspace), delete).await.unwrap();

        assert_eq!(both, expected(&[1, 2]));
        assert_eq!(list().await, expected(&[2]));
    }
);

both_backends!(
    async fn the_claims_of_the_latest_expiry_stay(db: TestDb) {
        let seeded = seed::workspace(&db, 1_000_000).await;
        let process = Process::start(&db).await;
        let conversation = create(&process, &seeded, Some(identity("42", "pro", 100))).await;

        assert_eq!(find(&process, &conversation).await.identity_variables, r#"{"plan":"pro"}"#);
        for (plan, expiry, stored) in [("free", 99, "pro"), ("team", 100, "team"), ("new", 200, "new")] {
            send(&process, &conversation, identity("42", plan, expiry)).await;
            let found = find(&process, &conversation).await;
            assert_eq!(found.identity_variables, format!(r#"{{"plan":"{stored}"}}"#));
            assert_eq!(found.identity_expires_at, Some(Micros(expiry.max(100))));
            assert_eq!(found.identity.as_deref(), Some("42"));
        }
        let found = find(&process, &conversation).await;
        assert_eq!(found.trusted_variables(Micros(199)), ["{}", r#"{"plan":"new"}"#]);
        assert_eq!(found.trusted_variables(Micros(200)), ["{}", "{}"]);
    }
);

both_backends!(
    async fn a_list_has_the_conversations_of_one_visitor(db: TestDb) {
        let seeded = seed::workspace(&db, 1_000_000).await;
        let process = Process::start(&db).await;
        let first = create(&process, &seeded, Some(identity("42", "pro", 100))).await;
        process.advance_clock(&db, Duration::from_secs(1)).await;
        let second = create(&process, &seeded, Some(identity("42", "pro", 100))).await;
        create(&process, &seeded, Some(identity("43", "pro", 100))).await;
        create(&process, &seeded, None).await;
        let list = async |limit: i64| {
            let mut read = process.db.acquire_read().await.unwrap();
            let (workspace, assistant) = (seeded.workspace, seeded.assistant);
            let listed = conversations::list_identified(read.conn(), workspace, assistant, "42", 4, limit)
                .await
                .unwrap();
            listed.into_iter().map(|listed| (listed.created_at, listed.preview)).collect::<Vec<_>>()
        };

        let newest_first = list(9).await;
        process.advance_clock(&db, Duration::from_secs(1)).await;
        send(&process, &first, identity("42", "pro", 100)).await;

        assert_eq!(newest_first, [(second.created_at, None), (first.created_at, None)]);
        let preview = Some("Grüß".to_owned());
        assert_eq!(list(9).await, [(first.created_at, preview.clone()), (second.created_at, None)]);
        assert_eq!(list(1).await, [(first.created_at, preview)]);
    }
);
