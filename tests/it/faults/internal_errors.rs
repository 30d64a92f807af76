//! Stored data that this version cannot read is an internal error: no client is asked to retry, no response contains the cause,
//! and the log contains all of it. A turn that panics ends the same way.

use std::collections::HashSet;
use std::io::Write;
use std::sync::{Arc, Mutex, OnceLock};

use http::StatusCode;
use rejoinder::domain::clock::{Clock, Micros, SystemClock};
use serde_json::json;
use tokio::task;

use crate::support::db::both_backends;
use crate::support::fake_model::{Reply, ToolCall};
use crate::support::http::Response;
use crate::support::script::Gate;
use crate::support::seed;
use crate::support::server::{Setup, TestServer, WIDGET};
use crate::support::wait::wait_for;

const PLATFORM: &str =
    r#"{"status":"error","message":"The server failed to process the request.","data":null}"#;
const WIDGET_MESSAGE: &str =
    r#"{"status":false,"error":"Failed to process message: The server failed to process the request"}"#;

/// The log of this process.
#[derive(Clone, Copy)]
struct Log(&'static Mutex<Vec<u8>>);

impl Log {
    fn start() -> Self {
        static LOG: OnceLock<Log> = OnceLock::new();
        *LOG.get_or_init(|| {
            let log = Self(Box::leak(Box::default()));
            let writer = move || log;
            tracing_subscriber::fmt().with_ansi(false).with_writer(writer).init();
            log
        })
    }

    /// The lines that contain a text.
    fn lines(self, text: &str) -> Vec<String> {
        let log = String::from_utf8(self.0.lock().unwrap().clone()).unwrap();
        log.lines().filter(|line| line.contains(text)).map(str::to_owned).collect()
    }
}

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// Asserts an internal error with one log line that contains the cause.
fn assert_internal(log: Log, answer: &Response, status: u16, body: &str, cause: &str) {
    assert_eq!((answer.status, answer.text()), (status, body));
    assert_eq!(answer.header("rejoinder-error"), Some("internal_error"));
    assert_eq!(answer.header("retry-after"), None);
    let lines = log.lines(answer.header("x-request-id").unwrap());
    assert!(matches!(&lines[..], [line] if line.contains(cause)), "{lines:?}");
}

both_backends!(
    async fn unreadable_json_and_rows_are_internal_errors_of_a_read(db: TestDb) {
        let log = Log::start();
        let server = TestServer::start(&db).await;
        let tools = server.get("/v1/tools").await.json();
        let tool = tools["data"]["items"][0]["id"].as_str().unwrap();
        let con = server.conversation_id(WIDGET).await;
        seed::execute(&db, "update tools set definition = '[]'; update conversations set kind = 'fax'").await;

        let json = server.get(&format!("/v1/tools/{tool}")).await;
        let row = server.get(&format!("/v1/conversations/{con}")).await;
        let widget = server.request("GET", &format!("/api/conversations/{WIDGET}")).send().await;

        assert_internal(log, &json, 500, PLATFORM, "error occurred while decoding");
        assert_internal(log, &row, 500, PLATFORM, "a row of the database could not be read");
        let text = r#"{"status":false,"error":"The server failed to process the request."}"#;
        assert_internal(log, &widget, 500, text, "a row of the database could not be read");
    }
);

both_backends!(
    async fn the_contracts_keep_their_answers_to_an_internal_error(db: TestDb) {
        let log = Log::start();
        let server = TestServer::start(&db).await;
        let con = server.conversation_id(WIDGET).await;
        seed::execute(&db, "update conversations set kind = 'fax'").await;
        let message =
            json!({ "conversation_id": con, "sender_id": "u", "sender_type": "user", "text": "Hi" });

        let widget = server.post_message(WIDGET, "Hi").send().await;
        let platform = server.enqueue(message.to_string()).send().await;

        let cause = "a row of the database could not be read";
        assert_internal(log, &widget, 400, WIDGET_MESSAGE, cause);
        let text = r#"{"status":"error","message":"Failed to enqueue message. Please retry.","data":null}"#;
        assert_internal(log, &platform, 500, text, cause);
    }
);

both_backends!(
    async fn a_turn_that_cannot_be_read_fails_once_and_is_refunded(db: TestDb) {
        let log = Log::start();
        let server = TestServer::start(&db).await;
        let first = server.post_message(WIDGET, "Hi").send().await;
        assert_eq!(first.status, 200, "{}", first.text());
        let balance = server.balance().await;
        // The gap makes the process read the messages, as after the writes of another one.
        let damage = "update messages set sender_type = 'fax' where sender_type = 'user'; \
            update conversations set next_position = next_position + 1";
        seed::execute(&db, damage).await;

        let answer = server.post_message(WIDGET, "Hi again").send().await;

        assert_eq!((answer.status, answer.text()), (400, WIDGET_MESSAGE));
        assert_eq!(answer.header("rejoinder-error"), Some("internal_error"));
        assert_eq!(server.balance().await, balance);
        let turn = answer.header("rejoinder-turn").unwrap();
        let turn_body = server.get(&format!("/v1/turns/{turn}")).await.json();
        assert_eq!(
            (&turn_body["data"]["state"], &turn_body["data"]["reason"]),
            (&json!("failed"), &json!("internal_error"))
        );
        let id = turn.trim_start_matches("trn_");
        let lines = log.lines("the context of a turn could not be read");
        let lines: Vec<_> = lines.iter().filter(|line| line.contains(id)).collect();
        assert!(
            matches!(&lines[..], [line] if line.contains("a row of the database could not be read")),
            "{lines:?}"
        );
    }
);

both_backends!(
    async fn an_unreadable_journal_fails_the_turn_and_repeats_no_call(db: TestDb) {
        let server =
            Setup::default().env("REJOINDER_TURN__MAX_ATTEMPTS", "3").system_clock().start(&db).await;
        let balance = server.balance().await;
        let gate = Gate::closed();
        server.model.script().queue([
            Reply::tool_calls([ToolCall::new("write_note", &json!({ "text": "x" }))]),
            Reply::error(StatusCode::SERVICE_UNAVAILABLE, "busy").gated_by(&gate),
        ]);
        let message = json!({ "sender_id": "u", "sender_type": "user", "text": "Note x" });
        let answer = server.enqueue(message.to_string()).send().await;
        let second = async || (server.model.calls().all().len() == 2).then_some(());
        wait_for("the second model call", second).await;

        seed::execute(&db, "update journal set content = '[]' where position = 0").await;
        gate.open();
        server.wait_for_events("reply.failed", 1).await;

        let turn = answer.header("rejoinder-turn").unwrap();
        let shown = server.get(&format!("/v1/turns/{turn}")).await.json();
        assert_eq!(shown["data"]["reason"], "internal_error");
        assert_eq!((server.model.calls().all().len(), server.tool.calls().all().len()), (2, 1));
        assert_eq!(server.balance().await, balance);
    }
);

both_backends!(
    async fn a_stored_list_of_hosts_that_cannot_be_parsed_allows_nothing(db: TestDb) {
        let log = Log::start();
        let server = TestServer::start(&db).await;
        seed::configure(&db, "update workspaces set allow_hosts = 'http://crm.internal'").await;

        let reply = server.post_message(WIDGET, "Hi").send().await;
        let endpoint = json!({ "url": "https://hooks.example/", "types": ["message.created"] });
        let endpoint =
            server.request("POST", "/v1/webhook_endpoints").bearer(&server.keys.full).json(&endpoint);
        let endpoint = endpoint.send().await;

        assert_eq!(reply.header("rejoinder-error"), Some("internal_error"), "{}", reply.text());
        assert!(server.model.calls().all().is_empty());
        assert_internal(log, &endpoint, 500, PLATFORM, "is not a host or host:port");
    }
);

/// The system clock, which can be made to panic in the task of a turn.
#[derive(Debug, Default)]
struct FragileClock(Mutex<FragileState>);

#[derive(Debug, Default)]
struct FragileState {
    phase: Phase,
    /// The tasks that read the clock before the turn.
    earlier: HashSet<task::Id>,
    /// The tasks that first read the clock while the turn started: the task of the turn is one of them.
    starting: HashSet<task::Id>,
}

#[derive(Clone, Copy, Debug, Default)]
enum Phase {
    #[default]
    Earlier,
    Starting,
    Panicking,
    Later,
}

impl FragileClock {
    fn enter(&self, phase: Phase) {
        self.0.lock().unwrap().phase = phase;
    }

    fn panics_in(&self, task: task::Id) -> bool {
        let mut state = self.0.lock().unwrap();
        match state.phase {
            Phase::Earlier => {
                state.earlier.insert(task);
                false
            }
            Phase::Starting => {
                if !state.earlier.contains(&task) {
                    state.starting.insert(task);
                }
                false
            }
            Phase::Panicking => state.starting.contains(&task),
            Phase::Later => false,
        }
    }
}

impl Clock for FragileClock {
    fn now(&self) -> Micros {
        let panics = task::try_id().is_some_and(|task| self.panics_in(task));
        assert!(!panics, "the clock panics on purpose");
        SystemClock.now()
    }
}

both_backends!(
    async fn a_turn_that_panics_fails_once_and_is_refunded(db: TestDb) {
        let log = Log::start();
        let clock = Arc::new(FragileClock::default());
        let server = Setup::default().clock(Arc::<FragileClock>::clone(&clock)).start(&db).await;
        let gate = Gate::closed();
        server.model.script().queue([
            Reply::text("First."),
            Reply::text("Never.").gated_by(&gate),
            Reply::text("Third."),
        ]);
        // The tasks that commit and claim read the clock.
        assert_eq!(server.post_message(WIDGET, "Hi").send().await.status, 200);
        let balances = "select cast(sum(balance) as bigint) from workspace_state";
        let balance = server.query_number(balances).await;

        clock.enter(Phase::Starting);
        let message = json!({ "sender_id": "u", "sender_type": "user", "text": "Hi" });
        let answer = server.enqueue(message.to_string()).send().await;
        server.model.calls().wait_for_count(2).await;
        clock.enter(Phase::Panicking);
        gate.open();
        let failed = "select count(*) from turns where state = 'failed' and reason = 'internal_error'";
        wait_for("the end of the turn", async || (server.query_number(failed).await == 1).then_some(()))
            .await;
        clock.enter(Phase::Later);

        assert_eq!(server.query_number(balances).await, balance);
        let turn = answer.header("rejoinder-turn").unwrap().trim_start_matches("trn_");
        let lines = log.lines("a turn panicked: the clock panics on purpose");
        assert_eq!(lines.iter().filter(|line| line.contains(turn)).count(), 1, "{lines:?}");
        assert_eq!(server.post_message(WIDGET, "Hi again").send().await.status, 200);
        assert_eq!(server.model.calls().all().len(), 3);
    }
);
