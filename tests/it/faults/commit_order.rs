//! The order of commits and what follows from them: nothing leaves a server before the transaction that makes it true is
//! committed, and no success is reported if the commit fails.

use std::collections::BTreeSet;
use std::sync::Mutex;

use futures::future::join_all;
use serde_json::{Value, json};

use crate::deliveries::wait_for_all_deliveries;
use crate::support::commit_gate::CommitGate;
use crate::support::db::{Backend, TestDb, both_backends};
use crate::support::fake_model::{ModelRequest, Reply};
use crate::support::http::Request;
use crate::support::proxy::Proxy;
use crate::support::receiver::{FakeReceiver, setup, texts};
use crate::support::seed;
use crate::support::server::{TestServer, WIDGET};
use crate::support::wait::wait_for;

/// The number of concurrent clients of each API.
const CLIENTS: usize = 32;

const WIDGET_FAILED: &str =
    r#"{"status":false,"error":"Failed to process message: The server failed to process the request"}"#;
const ENQUEUE_FAILED: &str =
    r#"{"status":"error","message":"Failed to enqueue message. Please retry.","data":null}"#;

/// The texts that have left the server, as far as clients know, from answers and the feed.
type Sent = Mutex<BTreeSet<String>>;

/// The body of a platform message in a new conversation.
fn platform_message(text: &str) -> String {
    json!({ "sender_id": "u", "sender_type": "user", "text": text }).to_string()
}

/// Sends a message, and asserts that the texts that its answer promises are stored when the head of the answer arrives.
async fn send(server: &TestServer, request: Request, promised: Vec<String>, sent: &Sent) {
    let answer = request.open().await;
    sent.lock().unwrap().extend(promised.iter().cloned());
    let list = promised.join("', '");
    // Reads use other connections than the writer.
    let stored =
        server.query_number(&format!("select count(*) from messages where text in ('{list}')")).await;
    assert_eq!(answer.status(), 200, "{promised:?}");
    assert_eq!(usize::try_from(stored).unwrap(), promised.len(), "{promised:?} before their commit");
}

/// The texts of all messages that an independent connection sees.
async fn stored_texts(db: &TestDb) -> BTreeSet<String> {
    seed::query_texts(db, "select text from messages").await.into_iter().collect()
}

both_backends!(
    async fn nothing_leaves_the_server_before_its_commit(db: TestDb) {
        let (server, proxy) = match db.backend() {
            Backend::Postgres => {
                let proxy = Proxy::start(&db.url()).await;
                (setup().database_url(proxy.url()).start(&db).await, Some(proxy))
            }
            Backend::Sqlite => (setup().start(&db).await, None),
        };
        let answer =
            |request: &ModelRequest| Reply::text(&format!("re: {}", request.prompt().unwrap_or_default()));
        server.model.script().respond_with(answer);
        let conversations = join_all((0..CLIENTS).map(|_| server.create_conversation())).await;
        let receiver = FakeReceiver::start().await;
        receiver.create_endpoint(&server, &db, "/hook").await;
        let mut stream =
            server.request("GET", "/v1/events/stream").bearer(&server.keys.read_only).stream().await;
        let before = stored_texts(&db).await.len();
        let gate = match &proxy {
            Some(proxy) => proxy.commits().clone(),
            None => CommitGate::of_sqlite(server.db()).await,
        };
        let mut commits = gate.close();
        let (sent, mut counts) = (Sent::default(), Vec::new());

        // Each commit is withheld for a while. Meanwhile everything that has left the server must be stored without it.
        let release_each = async {
            while let Some(commit) = commits.recv().await {
                // Gives whatever left too early the time to arrive.
                server.request("GET", "/healthz").send().await;
                let mut left = sent.lock().unwrap().clone();
                left.extend(server.model.calls().all().iter().filter_map(|call| call.request.prompt()));
                left.extend(texts(&receiver.received("/hook")));
                let stored = stored_texts(&db).await;
                let early: Vec<_> = left.difference(&stored).collect();
                assert!(early.is_empty(), "{early:?} left the server before their commit");
                counts.push(stored.len());
                commit.release();
            }
        };
        let follow = async {
            loop {
                let event: Value = serde_json::from_str(&stream.event().await.data.unwrap()).unwrap();
                let text = event["data"]["message"]["text"].as_str().map(str::to_owned);
                sent.lock().unwrap().extend(text);
            }
        };
        let use_the_server = async {
            let widget = conversations.iter().enumerate().map(|(number, uuid)| {
                let text = format!("widget {number}");
                let request = server.post_message(uuid, &text);
                send(&server, request, vec![format!("re: {text}"), text], &sent)
            });
            let platform = (0..CLIENTS).map(|number| {
                let text = format!("platform {number}");
                send(&server, server.enqueue(platform_message(&text)), vec![text], &sent)
            });
            join_all(widget.chain(platform)).await;
            let replies: BTreeSet<_> = (0..CLIENTS).map(|number| format!("re: platform {number}")).collect();
            let followed = async || replies.is_subset(&sent.lock().unwrap()).then_some(());
            wait_for("all replies on the feed", followed).await;
            wait_for_all_deliveries(&server).await;
        };
        tokio::select! {
            () = use_the_server => {}
            () = release_each => panic!("the gate is closed"),
            () = follow => {}
        }

        assert_eq!(counts.first(), Some(&before), "nothing is stored before the first commit");
        assert!(counts.last() > counts.first(), "{counts:?}");
        assert!(texts(&receiver.received("/hook")).len() >= 4 * CLIENTS);
    }
);

/// Makes the commit of each message `refused` fail, with a foreign key that is checked only then. The statement that stores the
/// message succeeds.
fn refuse_commits(backend: Backend) -> String {
    let tables = "create table allowed (id bigint primary key);
        create table refused (id bigint references allowed deferrable initially deferred);";
    let trigger = match backend {
        Backend::Postgres => {
            "create function refuse() returns trigger language plpgsql as $$ begin
                insert into refused values (1);
                return null;
            end $$;
            create trigger refuse after insert on messages for each row when (new.text = 'refused')
                execute function refuse();"
        }
        Backend::Sqlite => {
            "create trigger refuse after insert on messages for each row when new.text = 'refused' begin
                insert into refused values (1);
            end;"
        }
    };
    format!("{tables} {trigger}")
}

both_backends!(
    async fn a_failed_commit_is_not_answered_with_success(db: TestDb) {
        let server = TestServer::start(&db).await;
        seed::execute(&db, &refuse_commits(db.backend())).await;
        let before = server.row_counts().await;

        let (widget, enqueued) = tokio::join!(
            server.post_message(WIDGET, "refused").send(),
            server.enqueue(platform_message("refused")).send(),
        );

        assert_eq!((widget.status, widget.text()), (400, WIDGET_FAILED));
        assert_eq!((enqueued.status, enqueued.text()), (500, ENQUEUE_FAILED));
        assert_eq!(server.row_counts().await, before, "no message, charge, turn or event");

        // The other commands of the batch succeed.
        let sent = ["refused", "accepted"].iter().cycle().take(16);
        let answers = join_all(sent.map(|text| server.enqueue(platform_message(text)).send())).await;

        let statuses: Vec<_> = answers.iter().map(|answer| answer.status).collect();
        assert_eq!(statuses, [500, 200].repeat(8));
        let count = async |text: &str| {
            server.query_number(&format!("select count(*) from messages where text = '{text}'")).await
        };
        assert_eq!((count("refused").await, count("accepted").await), (0, 8));
    }
);
