//! One workspace that takes all it can get of a shared place: another is served at once.

use std::sync::{Arc, Mutex};

use futures::FutureExt as _;
use futures::future::join_all;
use rejoinder::domain::conversation::{Conversation, ConversationKind};
use rejoinder::domain::error::Error;
use rejoinder::domain::ids::IdGenerator;
use rejoinder::domain::turn::Api;
use rejoinder::service::keys::{self, CreateKey};
use rejoinder::store::turns::claims::{ClaimRequest, claim, list_due};
use rejoinder::writer::{Admission, Effect, SlotLimits, TurnSlot, TurnSlots, Writer};
use serde_json::json;
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;
use tokio_util::sync::CancellationToken;

use crate::support::db::both_backends;
use crate::support::fake_model::{ModelRequest, Reply};
use crate::support::http::Response;
use crate::support::script::Gate;
use crate::support::server::{Setup, TestServer};
use crate::support::wait::{wait_for, within};
use crate::support::writer_process::{BOUNDS, Process, admission};
use crate::support::{seed, store, workspaces};

/// A workspace beside the greedy one.
const HONEST: &str = r#"
[workspace]
slug = "honest"
name = "Honest Ltd"
balance = "10.00"
default_assistant = "desk"

[[assistants]]
slug = "desk"
name = "Desk"
system_prompt = "You help."
"#;

/// Creates the honest workspace, and returns its key.
pub(super) async fn honest(server: &TestServer) -> String {
    let (db, clock) = (server.db(), server.services().clock.as_ref());
    workspaces::try_apply(db, clock, &server.tool, HONEST).await.unwrap();
    let request = CreateKey {
        workspace: "honest".to_owned(),
        name: "tests".to_owned(),
        scopes: Vec::new(),
        expires_in: None,
    };
    keys::create(db, clock, &IdGenerator::random(), request).await.unwrap().0.expose().to_owned()
}

/// Sends a message in a new conversation.
pub(super) async fn send(server: &TestServer, key: &str, text: &str) {
    let body = json!({ "sender_id": "u", "sender_type": "user", "text": text });
    let sent = server.request("POST", "/v1/messages").bearer(key).json(&body).send().await;
    assert_eq!(sent.status, 200, "{}", sent.text());
}

async fn send_greedy(server: &TestServer, count: usize) {
    join_all((0..count).map(|_| send(server, &server.keys.full, "greedy"))).await;
}

async fn running(server: &TestServer) -> i64 {
    server.query_number("select count(*) from turns where state = 'running'").await
}

async fn wait_for_running(server: &TestServer, count: i64) {
    wait_for(&format!("{count} running turns"), async || (running(server).await == count).then_some(()))
        .await;
}

fn is_honest(request: &ModelRequest) -> bool {
    request.prompt().is_some_and(|prompt| prompt == "honest")
}

both_backends!(
    async fn a_turn_starts_while_another_workspace_has_more_slow_turns_than_slots(db: TestDb) {
        // Half of the slots are for platform turns.
        let server =
            Setup::default().env("REJOINDER_TURN__MAX_IN_FLIGHT", "32").system_clock().start(&db).await;
        let key = honest(&server).await;
        let never = Gate::closed();
        server.model.script().respond_with(move |request: &ModelRequest| {
            let reply = Reply::text("Yes.");
            if is_honest(request) { reply } else { reply.gated_by(&never) }
        });

        send_greedy(&server, 40).await;
        // Beyond half of the slots, because no other workspace waits.
        wait_for_running(&server, 15).await;
        send(&server, &key, "honest").await;

        let completed = "select count(*) from turns where state = 'completed'";
        wait_for("the reply", async || (server.query_number(completed).await == 1).then_some(())).await;
        assert_eq!(running(&server).await, 15, "the slow turns still run");
        assert!(server.model.calls().all().iter().any(|call| is_honest(&call.request)));
    }
);

both_backends!(
    async fn the_next_model_calls_are_for_a_workspace_that_has_none(db: TestDb) {
        let setup = Setup::default().env("REJOINDER_MODEL__MAX_IN_FLIGHT", "2").system_clock();
        let server = setup.start(&db).await;
        let key = honest(&server).await;
        // One for each call, in order of their arrival.
        let gates: Arc<Mutex<Vec<Gate>>> = Arc::default();
        let made = Arc::clone(&gates);
        server.model.script().respond_with(move |_: &ModelRequest| {
            let gate = Gate::closed();
            let reply = Reply::text("Yes.").gated_by(&gate);
            made.lock().unwrap().push(gate);
            reply
        });

        send_greedy(&server, 40).await;
        server.model.calls().wait_for_count(2).await;
        wait_for_running(&server, 15).await;
        send(&server, &key, "honest").await;
        wait_for_running(&server, 16).await;
        for ended in 0..4 {
            let gate = wait_for("the call", async || gates.lock().unwrap().get(ended).cloned()).await;
            gate.open();
            server.model.calls().wait_for_count(ended + 3).await;
        }

        let calls = server.model.calls().all();
        let index = calls.iter().position(|call| is_honest(&call.request));
        assert!(
            index.is_some_and(|index| index < 6),
            "{index:?}: 13 turns of the greedy workspace waited before"
        );
        gates.lock().unwrap().iter().for_each(Gate::open);
    }
);

both_backends!(
    async fn the_next_claim_has_the_turns_of_all_workspaces(db: TestDb) {
        let greedy = seed::workspace(&db, 1_000_000_000).await;
        let honest = [seed::workspace(&db, 1_000_000).await, seed::workspace(&db, 1_000_000).await];
        let process = Process::start_with(&db, store::open(&db).await, BOUNDS, 0).await;
        let queue = async |seeded: &seed::Seed, count: usize| {
            join_all((0..count).map(|_| async {
                let conversation = process.conversation(seeded, ConversationKind::Api).await;
                process.writer.execute(admission(&conversation, Api::Platform)).await.unwrap();
            }))
            .await;
        };
        queue(&greedy, 300).await;
        for seeded in &honest {
            queue(seeded, 2).await;
        }

        let mut read = process.db.acquire_read().await.unwrap();
        let due = list_due(read.conn(), Api::Platform, process.clock.as_ref()).await.unwrap();
        drop(read);
        assert_eq!(due.len(), 3);
        // Half of the slots are for platform turns.
        let slots = TurnSlots::new(SlotLimits { max_in_flight: 12, per_workspace: None });
        let allocated = slots.allocate(Api::Platform, &due, 64);
        let requests: Vec<_> = due
            .iter()
            .map(|due| {
                let of_workspace = |slot: &&TurnSlot| slot.workspace() == Some(due.workspace);
                ClaimRequest {
                    workspace: due.workspace,
                    count: allocated.iter().filter(of_workspace).count(),
                }
            })
            .collect();
        let mut tx = process.db.begin().await.unwrap();
        let clock = process.clock.as_ref();
        let claimed = claim(tx.conn(), process.id, Api::Platform, &requests, 20, clock).await.unwrap();
        tx.commit().await.unwrap();

        let count =
            |seeded: &seed::Seed| claimed.iter().filter(|turn| turn.workspace == seeded.workspace).count();
        assert_eq!([count(&greedy), count(&honest[0]), count(&honest[1])], [2, 2, 2]);
    }
);

/// A platform message without a reply.
fn note(conversation: &Conversation) -> Admission {
    Admission { auto_reply: Some(false), ..admission(conversation, Api::Platform) }
}

both_backends!(
    async fn the_next_batch_has_the_commands_of_all_workspaces(db: TestDb) {
        let (greedy, honest) =
            (seed::workspace(&db, 1_000_000_000).await, seed::workspace(&db, 1_000_000).await);
        let mut process = Process::start(&db).await;
        let flooded = process.conversation(&greedy, ConversationKind::Api).await;
        let conversation = process.conversation(&honest, ConversationKind::Api).await;
        // Its shard does not run yet.
        let stop = CancellationToken::new();
        let (writer, shards) = Writer::new(&process.context, 1, &stop);

        let mut flood: Vec<_> = (0..5_000).map(|_| writer.execute(note(&flooded))).collect();
        assert!(flood.iter_mut().all(|request| request.now_or_never().is_none()));
        let refused = writer.execute(note(&flooded)).now_or_never();
        assert!(matches!(refused, Some(Err(Error::Overloaded { .. }))), "its part of the queue is full");
        let mut request = writer.execute(note(&conversation));
        assert!((&mut request).now_or_never().is_none(), "the other workspace is not refused");
        for shard in shards {
            tokio::spawn(shard);
        }
        within("the answer", request).await.unwrap();

        // Effects come in the order of the commits.
        let mut stored_before = 0;
        loop {
            let effect = within("an effect", process.effects.recv()).await.unwrap();
            let Effect::Stored(message) = effect else { continue };
            if message.workspace == honest.workspace {
                break;
            }
            stored_before += 1;
        }
        assert!(stored_before < 256, "{stored_before} commands of the greedy workspace came before");
        stop.cancel();
    }
);

async fn put_document(server: &TestServer, key: &str, base: &str) -> Response {
    let path = format!("/v1/knowledge_bases/{base}/documents/next");
    let request = server.request("PUT", &path).bearer(key).header("content-type", "text/plain");
    request.body("Hi.").send().await
}

async fn knowledge_base(server: &TestServer, key: &str) -> String {
    let request = server.request("POST", "/v1/knowledge_bases").bearer(key);
    let created = request.json(&json!({ "slug": "help" })).send().await.json();
    created["data"]["id"].as_str().unwrap().to_owned()
}

both_backends!(
    async fn an_upload_is_accepted_while_another_workspace_stalls_all_it_may(db: TestDb) {
        let server = TestServer::start(&db).await;
        let (greedy, honest) = (server.keys.full.clone(), server.keys.other_workspace.clone());
        let base = knowledge_base(&server, &greedy).await;
        let own_base = knowledge_base(&server, &honest).await;
        let head = format!(
            "PUT /v1/knowledge_bases/{base}/documents/slow HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {greedy}\r\n\
             content-type: text/plain\r\ncontent-length: 10485760\r\n\r\nbegun"
        );

        let mut stalled = Vec::new();
        loop {
            let answer = put_document(&server, &greedy, &base).await;
            if answer.status == 429 {
                break;
            }
            assert!(answer.status == 200 && stalled.len() < 100, "{}", answer.text());
            let mut stream = TcpStream::connect(server.address()).await.unwrap();
            stream.write_all(head.as_bytes()).await.unwrap();
            stalled.push(stream);
        }

        let accepted = put_document(&server, &honest, &own_base).await;
        assert_eq!(accepted.status, 200, "{}", accepted.text());
        assert_eq!(put_document(&server, &greedy, &base).await.status, 429, "its uploads are still stalled");
    }
);
