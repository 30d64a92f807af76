//! A database that is restored from a backup: what `rejoinder restored` does, and what readers get afterwards.

use std::os::unix::fs::symlink;
use std::process::{Command, Stdio};

use rejoinder::store::integrity::find_orphans;
use serde_json::{Value, json};

use crate::deliveries::wait_for_all_deliveries;
use crate::snippets::blocks;
use crate::support::binary::{PROGRAM, ProcessOutput, Sandbox};
use crate::support::db::{TestDb, both_backends};
use crate::support::fake_model::{ModelRequest, Reply};
use crate::support::fake_tool::ToolReply;
use crate::support::http::{Request, Response};
use crate::support::receiver::{self, FakeReceiver, header};
use crate::support::script::Gate;
use crate::support::seed;
use crate::support::server::{Setup, TestServer, WIDGET};
use crate::support::sqlite::back_up;
use crate::support::store;
use crate::support::wait::wait_for;

const OPEN_TURNS: &str = "select count(*) from turns where state in ('waiting', 'queued', 'running')";

fn setup() -> Setup {
    Setup::default().system_clock().env("REJOINDER_SHUTDOWN_GRACE", "100ms")
}

/// Runs a command on the test's database.
fn run(db: &TestDb, arguments: &[&str]) -> ProcessOutput {
    let sandbox = Sandbox::new();
    let mut command = sandbox.command(arguments);
    match db {
        TestDb::Postgres(database) => command.env("DATABASE_URL", database.url()),
        TestDb::Sqlite(folder) => {
            let (file, data) = (folder.path(), folder.path().with_file_name("rejoinder.db"));
            if !data.exists() {
                symlink(&file, &data).unwrap();
            }
            command.env("REJOINDER_DATA_DIR", file.parent().unwrap())
        }
    };
    command.stdin(Stdio::null()).output().unwrap().into()
}

fn restored(db: &TestDb) -> Value {
    let ended = run(db, &["restored", "--yes", "--json"]);
    assert!(ended.status.success(), "{}", ended.stderr);
    serde_json::from_str(&ended.stdout).unwrap()
}

/// Sends a message of the platform API to a conversation whose replies cost money.
async fn ask(server: &TestServer, con: &str, text: &str) {
    let body = json!({ "conversation_id": con, "sender_id": "u", "sender_type": "user", "text": text });
    let sent = server.enqueue(body.to_string()).send().await;
    assert_eq!(sent.status, 200, "{}", sent.text());
}

async fn wait_for_replies(server: &TestServer) {
    wait_for("all replies", async || (server.query_number(OPEN_TURNS).await == 0).then_some(())).await;
}

async fn events(server: &TestServer, query: &str) -> (Vec<Value>, String) {
    let page = server.get(&format!("/v1/events?{query}")).await;
    assert_eq!(page.status, 200, "{}", page.text());
    let data = page.json()["data"].clone();
    (data["items"].as_array().unwrap().clone(), data["next_cursor"].as_str().unwrap().to_owned())
}

fn stream(server: &TestServer, last: &str) -> Request {
    server.request("GET", "/v1/events/stream").bearer(&server.keys.full).header("last-event-id", last)
}

/// Checks that a cursor is refused everywhere, and returns the one to resume from.
async fn resume_after(server: &TestServer, cursor: &str) -> String {
    let resume = |answer: &Response| {
        assert_eq!(answer.status, 410, "{cursor}: {}", answer.text());
        assert_eq!(answer.header("rejoinder-error"), Some("cursor_expired"));
        let (text, resume) = (answer.text(), answer.header("rejoinder-resume").unwrap());
        assert!(
            text.contains("restored from a backup") && text.contains(&format!("after={resume}")),
            "{text}"
        );
        resume.to_owned()
    };
    let page = server.get(&format!("/v1/events?after={cursor}")).await;
    let poll = server.get(&format!("/v1/events?after={cursor}&wait=60")).await;
    let streamed = stream(server, cursor).send().await;
    let resumes = [&page, &poll, &streamed].map(resume);
    assert!(resumes.iter().all(|other| *other == resumes[0]), "{resumes:?}");
    resumes[0].clone()
}

/// What a test has noted at the backup and before the failure.
struct Lost {
    con: String,
    /// The position of a reader before the backup, at the backup, and in the events that are lost.
    cursors: [String; 3],
    calls: usize,
}

/// A history with a backup: one turn has ended before it and two are open; they are answered after it. Returns the server, the backup
/// and what was lost.
async fn lose_events(db: &TestDb) -> (TestServer, TestDb, Lost) {
    let server = setup().start(db).await;
    let gate = Gate::closed();
    let reply_gate = gate.clone();
    server.model.script().respond_with(move |request: &ModelRequest| {
        let reply = Reply::text("A reply");
        if request.prompt().unwrap() == "held" { reply.gated_by(&reply_gate) } else { reply }
    });
    let con = server.conversation_id(WIDGET).await;
    ask(&server, &con, "before").await;
    wait_for_replies(&server).await;
    let (_, early) = events(&server, "limit=1").await;
    ask(&server, &con, "held").await;
    ask(&server, &con, "waiting").await;
    server.model.calls().wait_for_count(2).await;
    let (_, at_backup) = events(&server, "after=latest").await;
    assert_eq!(server.balance().await, "9.97");

    // A stop without grace hands the turns back.
    let paused = server.pause().await;
    let backup = db.copy().await;
    let server = paused.start(db, setup()).await;
    gate.open();
    wait_for_replies(&server).await;
    let (_, late) = events(&server, "after=latest").await;
    let calls = server.model.calls().all().len();
    (server, backup, Lost { con, cursors: [early, at_backup, late], calls })
}

both_backends!(
    async fn after_a_restore_old_cursors_are_refused_and_open_turns_are_not_repeated(db: TestDb) {
        let (server, backup, lost) = lose_events(&db).await;

        let report = restored(&backup);
        let server = server.restart(&backup, setup()).await;

        assert_eq!((&report["failed_turns"], report["newest_event_at"].is_string()), (&json!(2), true));
        let epoch = report["epoch"].as_i64().unwrap();
        let (all, _) = events(&server, "limit=200").await;
        let ended = &all[all.len() - 2..];
        for event in ended {
            assert_eq!(event["type"], "reply.failed", "{event}");
            assert_eq!(event["data"]["reason"], "database_restored");
        }
        // A reader that was at the backup or further gets the two ends, and an earlier one all that it had not read.
        let [early, at_backup, late] = &lost.cursors;
        for cursor in [at_backup, late] {
            let resume = resume_after(&server, cursor).await;
            assert_eq!(events(&server, &format!("after={resume}")).await.0, ended);
        }
        let resume = resume_after(&server, early).await;
        assert_eq!(events(&server, &format!("after={resume}&limit=200")).await.0, all[1..]);
        // Page by page, each event once, with cursors of this epoch.
        let (mut read, mut next) = (Vec::new(), format!("{epoch}-0"));
        loop {
            let (items, following) = events(&server, &format!("after={next}&limit=1")).await;
            let Some(event) = items.first() else { break };
            assert!(event["cursor"].as_str().unwrap().starts_with(&format!("{epoch}-")), "{event}");
            read.push(event.clone());
            next = following;
        }
        assert_eq!(read, all);
        let mut streamed = stream(&server, all[0]["cursor"].as_str().unwrap()).stream().await;
        assert_eq!(streamed.event().await.id.as_deref(), all[1]["cursor"].as_str());
        drop(streamed);

        assert_eq!(server.balance().await, "9.99", "only the reply before the backup is charged");
        assert_eq!(server.model.calls().all().len(), lost.calls, "nothing was asked again");
        ask(&server, &lost.con, "after the restore").await;
        wait_for_replies(&server).await;
        assert_eq!(server.balance().await, "9.98");
        let ledger = server.get("/v1/ledger?limit=200").await.json();
        let entries = ledger["data"]["items"].as_array().unwrap();
        let numbers: Vec<_> = entries.iter().map(|entry| entry["number"].as_i64().unwrap()).collect();
        // The opening credit and three charges, then two refunds and a charge.
        assert_eq!(numbers, [1, 2, 3, 4, epoch, epoch + 1, epoch + 2]);
        server.stop().await;
        assert_consistent(&backup).await;
    }
);

async fn assert_consistent(db: &TestDb) {
    let opened = store::open(db).await;
    assert_eq!(find_orphans(opened.acquire_read().await.unwrap().conn()).await.unwrap(), []);
    opened.close().await;
    let unbalanced = "select count(*) from workspace_state s where balance <> \
        (select coalesce(sum(amount), 0) from ledger l where l.workspace_id = s.workspace_id)";
    assert_eq!(seed::query_number(db, unbalanced).await, 0);
    let counted = "select count(*) from workspace_state where open_turns <> 0";
    assert_eq!(seed::query_number(db, counted).await, 0);
}

both_backends!(
    async fn the_command_can_be_repeated_and_lists_the_valid_keys(db: TestDb) {
        let server = setup().start(&db).await;
        let con = server.conversation_id(WIDGET).await;
        ask(&server, &con, "Hi").await;
        wait_for_replies(&server).await;
        let (before, cursor) = events(&server, "limit=200").await;
        let paused = server.pause().await;

        let first = restored(&db);
        let second = restored(&db);
        let printed = run(&db, &["restored", "--yes"]);

        assert!(second["epoch"].as_i64().unwrap() > first["epoch"].as_i64().unwrap());
        assert_eq!((&first["failed_turns"], &second["failed_turns"]), (&json!(0), &json!(0)));
        // Those of the workspaces, without the revoked and the expired one.
        let keys = second["valid_keys"].as_array().unwrap();
        assert_eq!(keys.len(), 4, "{keys:?}");
        for key in keys {
            let revoke = format!("rejoinder keys revoke {}  # ", key["id"].as_str().unwrap());
            assert!(printed.stdout.contains(&revoke), "{}", printed.stdout);
        }
        let server = paused.start(&db, setup()).await;
        let resume = resume_after(&server, &cursor).await;
        assert_eq!(events(&server, &format!("after={resume}")).await.0, Vec::<Value>::new());
        assert_eq!(events(&server, "limit=200").await.0.len(), before.len());
        server.stop().await;
    }
);

both_backends!(
    async fn open_deliveries_are_sent_again_with_the_cursor_of_the_new_epoch(db: TestDb) {
        let setup = || receiver::setup().env("REJOINDER_SHUTDOWN_GRACE", "100ms").system_clock();
        let server = setup().start(&db).await;
        let receiver = FakeReceiver::start().await;
        let never = Gate::closed();
        receiver.script().queue([ToolReply::json(&json!({})).gated_by(&never)]);
        receiver.create_endpoint(&server, &db, "/hook").await;
        server.store_message(None, "Hi").await;
        receiver.calls().wait_for_count(1).await;
        let paused = server.pause().await;

        let report = restored(&db);
        let server = paused.start(&db, setup()).await;
        wait_for_all_deliveries(&server).await;

        assert_eq!(report["open_deliveries"], 2);
        let arrived = receiver.received("/hook");
        assert_eq!(arrived.len(), 3, "the one in flight twice, the next one once");
        assert_eq!(header(&arrived[0], "webhook-id"), header(&arrived[1], "webhook-id"));
        let sent: Value = serde_json::from_slice(&arrived[1].body).unwrap();
        let (all, _) = events(&server, "limit=200").await;
        assert!(all.contains(&sent), "{sent}");
        assert!(sent["cursor"].as_str().unwrap().starts_with(&format!("{}-", report["epoch"])), "{sent}");
        server.stop().await;
    }
);

both_backends!(
    async fn without_yes_or_a_terminal_nothing_is_changed(db: TestDb) {
        let server = setup().start(&db).await;
        server.store_message(None, "Hi").await;
        server.stop().await;
        let before = seed::contents(&db).await;

        let refused = run(&db, &["restored"]);

        assert_eq!(refused.status.code(), Some(1));
        assert!(refused.stderr.contains("add --yes"), "{}", refused.stderr);
        assert_eq!(seed::contents(&db).await, before);
    }
);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_command_refuses_while_a_process_uses_the_database() {
    let db = store::postgres().await;
    let server = setup().start(&db).await;

    let refused = run(&db, &["restored", "--yes"]);

    assert_eq!(refused.status.code(), Some(1));
    assert!(
        refused.stderr.contains("processes that use this database: 1; stop them first"),
        "{}",
        refused.stderr
    );
    let (_, cursor) = events(&server, "after=latest").await;
    assert!(!cursor.contains('-'), "{cursor}");
    server.stop().await;
    restored(&db);
}

/// The server of the data folder as a process of its own, which locks the folder, and the commands of the run-book.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_run_book_restores_a_backup_of_the_embedded_database() {
    let sandbox = Sandbox::new();
    let server = sandbox.start_server().await;
    let key = std::fs::read_to_string(sandbox.path().join("data/demo.key")).unwrap();
    let key = key.trim();
    server.exchange_messages(key, 1).await;
    let copy = sandbox.path().join("copy.db");
    back_up(&sandbox.path().join("data/rejoinder.db"), &copy).await;
    let message = json!({ "sender_id": "u", "sender_type": "user", "text": "Hello" });
    assert_eq!(server.http.post("/v1/messages", &message).bearer(key).send().await.status, 200);
    let page = server.http.get("/v1/events?after=latest").bearer(key).send().await.json();
    let late = page["data"]["next_cursor"].as_str().unwrap().to_owned();

    let refused = sandbox.run(&["restored", "--yes"]);
    assert_eq!(refused.status.code(), Some(1));
    assert!(refused.stderr.contains("another server is running on this data folder"), "{}", refused.stderr);
    server.terminate().await;
    let run_book = blocks::of("docs/operations.md", "sh");
    let run_book = run_book.iter().find(|block| block.text.contains("cp copy.db data/rejoinder.db")).unwrap();
    let script = format!("rejoinder() {{ '{PROGRAM}' \"$@\"; }}\n{}", run_book.text);
    let mut shell = Command::new("bash");
    shell.args(["-euo", "pipefail", "-c", &script]).current_dir(sandbox.path()).env_clear();
    shell.env("PATH", std::env::var("PATH").unwrap()).env("REJOINDER_LISTEN", "127.0.0.1:0");
    let pasted = ProcessOutput::from(shell.output().unwrap());
    assert!(pasted.status.success(), "{}{}", pasted.stdout, pasted.stderr);

    let server = sandbox.start_server().await;
    let answer = server.http.get(&format!("/v1/events?after={late}")).bearer(key).send().await;
    assert_eq!((answer.status, answer.header("rejoinder-error")), (410, Some("cursor_expired")));
    assert_eq!(server.http.post("/v1/messages", &message).bearer(key).send().await.status, 200);
}
