//! Database failures and panics during a commit: no command is lost and none is repeated.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures::future::join_all;
use rejoinder::domain::clock::Micros;
use rejoinder::domain::conversation::{Conversation, ConversationKind};
use rejoinder::domain::error::Error;
use rejoinder::domain::ids::WorkspaceId;
use rejoinder::domain::turn::{Api, TurnState};
use rejoinder::store::{Conn, Db, Tx};
use rejoinder::writer::batch::{Batch, LoadPlan};
use rejoinder::writer::{Admission, AdmitOutcome, Command, Decision, Effect, RetryTurn, TurnWriteOutcome};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use url::Url;

use crate::support::db::{TestDb, both_backends};
use crate::support::seed::{self, assert_invariants};
use crate::support::store;
use crate::support::wait::{wait_for, within};
use crate::support::writer_process::{
    BOUNDS, Process, admission, ai, balance, journal_answer, journal_append, turn_ref,
};

both_backends!(
    async fn a_data_error_fails_only_its_own_command(db: TestDb) {
        let seeded = seed::workspace(&db, 1_000_000).await;
        let process = Process::start(&db).await;
        let conversations =
            join_all((0..10).map(|_| process.conversation(&seeded, ConversationKind::Widget))).await;
        let admissions: Vec<_> =
            conversations.iter().map(|conversation| admission(conversation, Api::Widget)).collect();
        process.writer.execute(admissions[4].clone()).await.unwrap();

        // The fifth uses ids that already exist.
        let outcomes =
            join_all(admissions.into_iter().map(|admission| process.writer.execute(admission))).await;

        let failed: Vec<_> = outcomes.iter().map(Result::is_err).collect();
        assert_eq!(failed, [false, false, false, false, true, false, false, false, false, false]);
        assert_invariants(&db).await;
    }
);

/// An admission that panics after one of its steps.
struct Panicking {
    admission: Admission,
    after: Step,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    Plan,
    /// While the slots of the batch are reserved: the shard does not see which command panics.
    Reservation,
    Decision,
}

impl Panicking {
    fn panic_after(&self, step: Step) {
        assert!(self.after != step, "on purpose, after its {step:?}");
    }
}

impl Decision for Panicking {
    type Reply = AdmitOutcome;

    fn plan(&self, plan: &mut LoadPlan, now: Micros) {
        self.admission.plan(plan, now);
        self.panic_after(Step::Plan);
    }

    fn decide(&self, batch: &mut Batch<'_>) -> Result<AdmitOutcome, Error> {
        let outcome = self.admission.decide(batch);
        self.panic_after(Step::Decision);
        outcome
    }
}

impl Command for Panicking {
    const IS_REQUEST: bool = true;

    fn workspace(&self) -> WorkspaceId {
        self.admission.workspace
    }

    fn may_start(&self) -> &[Api] {
        self.panic_after(Step::Reservation);
        self.admission.may_start()
    }
}

/// Commits an admission that panics after this step among honest ones.
async fn commit_with_a_panic(db: &TestDb, after: Step) {
    let seeded = seed::workspace(db, 1_000_000).await;
    let mut process = Process::start(db).await;
    let conversations =
        join_all((0..4).map(|_| process.conversation(&seeded, ConversationKind::Widget))).await;
    let [first, second, third, last] = &conversations[..] else { panic!("{conversations:?}") };
    let admit = |conversation: &Conversation| process.writer.execute(admission(conversation, Api::Widget));
    let panicking = Panicking { admission: admission(last, Api::Widget), after };

    let (first, second, refused, third) =
        tokio::join!(admit(first), admit(second), process.writer.execute(panicking), admit(third));

    for admitted in [first, second, third] {
        assert!(matches!(admitted, Ok(AdmitOutcome::Waiting(_))), "{admitted:?}");
    }
    let Err(Error::Internal { source }) = refused else { panic!("{refused:?}") };
    assert!(source.to_string().contains(&format!("on purpose, after its {after:?}")), "{source}");
    let started = process.effects(3).await;
    assert_eq!(started.len(), 3, "{started:?}");
    assert!(started.iter().all(|effect| matches!(effect, Effect::Started(_, Some(_)))), "{started:?}");
    let slots = async || (process.slots.in_use(Api::Widget) == 3).then_some(());
    wait_for("the slots of the other attempts", slots).await;
    assert_eq!(seed::query_number(db, "select count(*) from messages").await, 3);
    assert_eq!(balance(&process.db, seeded.workspace).await, 970_000);
    // The shard goes on.
    process.ask(last).await;
    assert_invariants(db).await;
}

both_backends!(
    async fn a_panic_in_a_decision_refuses_only_its_own_command(db: TestDb) {
        commit_with_a_panic(&db, Step::Decision).await;
    }
);

both_backends!(
    async fn a_panic_in_a_plan_refuses_only_its_own_command(db: TestDb) {
        commit_with_a_panic(&db, Step::Plan).await;
    }
);

both_backends!(
    async fn a_panic_without_a_known_culprit_refuses_only_its_own_command(db: TestDb) {
        commit_with_a_panic(&db, Step::Reservation).await;
    }
);

/// A proxy that can close a connection right after a COMMIT was sent to the database.
struct Cutter {
    url: String,
    /// Closes the connection of the next commit.
    armed: Arc<AtomicBool>,
    /// Closes every connection.
    refusing: Arc<AtomicBool>,
}

impl Cutter {
    async fn start(url: &str) -> Self {
        let mut url = Url::parse(url).unwrap();
        let target = format!("{}:{}", url.host_str().unwrap(), url.port().unwrap());
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        url.set_port(Some(listener.local_addr().unwrap().port())).unwrap();
        let (armed, refusing) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
        let flags = (Arc::clone(&armed), Arc::clone(&refusing));
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                if !flags.1.load(Ordering::SeqCst) {
                    tokio::spawn(forward(client, target.clone(), flags.clone()));
                }
            }
        });
        Self { url: url.into(), armed, refusing }
    }

    /// A process that is connected through this proxy.
    async fn process(&self, db: &TestDb) -> Process {
        let store = Db::postgres(&self.url, 2, 2).await.unwrap();
        Process::start_with(db, store, BOUNDS, 100).await
    }
}

async fn forward(
    mut client: TcpStream,
    target: String,
    (armed, refusing): (Arc<AtomicBool>, Arc<AtomicBool>),
) {
    let mut server = TcpStream::connect(target).await.unwrap();
    let (mut there, mut back) = (vec![0; 65_536], vec![0; 65_536]);
    loop {
        tokio::select! {
            read = client.read(&mut there) => {
                let Ok(count @ 1..) = read else { return };
                server.write_all(&there[..count]).await.unwrap();
                let is_commit = there[..count].windows(6).any(|word| word.eq_ignore_ascii_case(b"commit"));
                if is_commit && armed.swap(false, Ordering::SeqCst) {
                    // The database has committed when it answers. The client never receives the answer.
                    let _ = server.read(&mut back).await;
                    return;
                }
            }
            read = server.read(&mut back) => {
                let Ok(count @ 1..) = read else { return };
                if refusing.load(Ordering::SeqCst) || client.write_all(&back[..count]).await.is_err() {
                    return;
                }
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_unanswered_commit_is_not_repeated() {
    let db = store::postgres().await;
    let seeded = seed::workspace(&db, 1_000_000).await;
    let cutter = Cutter::start(&db.url()).await;
    let mut process = cutter.process(&db).await;
    let conversation = process.conversation(&seeded, ConversationKind::Widget).await;

    cutter.armed.store(true, Ordering::SeqCst);
    let first = process.ask(&conversation).await;
    let second = process.ask(&conversation).await;
    assert!(
        matches!(&process.effects(1).await[..], [Effect::Started(started, Some(_))] if started.turn.id == first.turn)
    );
    assert_eq!(seed::query_number(&db, "select count(*) from messages").await, 2);

    cutter.armed.store(true, Ordering::SeqCst);
    let retried = process
        .writer
        .execute(RetryTurn { turn: first, fence: 1, delay: Duration::ZERO, model_error: None, tokens: 5 })
        .await
        .unwrap();
    assert!(matches!(retried, TurnWriteOutcome::Accepted(turn) if turn.fence == 2 && turn.attempts == 1));

    cutter.armed.store(true, Ordering::SeqCst);
    let appended = process.writer.execute(journal_answer(first, 2, 0, 70)).await.unwrap();
    assert!(matches!(appended.turn, TurnWriteOutcome::Accepted(_)), "{appended:?}");
    let tokens = "select cast(sum(day_tokens) as bigint) from workspace_state";
    assert_eq!(seed::query_number(&db, tokens).await, 75, "each commit counted its tokens once");

    cutter.armed.store(true, Ordering::SeqCst);
    assert!(matches!(process.complete(first, 2).await, TurnWriteOutcome::Accepted(_)));
    let effects = process.effects(2).await;
    assert!(
        effects.iter().any(
            |effect| matches!(effect, Effect::Started(started, Some(_)) if started.turn.id == second.turn)
        )
    );
    assert!(effects.iter().any(|effect| matches!(effect, Effect::Ended(turn, _) if turn.id == first.turn)));

    cutter.armed.store(true, Ordering::SeqCst);
    process.change(&conversation, ai(false)).await.unwrap();
    assert!(
        process
            .effects(2)
            .await
            .iter()
            .any(|effect| matches!(effect, Effect::Cancelled(turn) if *turn == second.turn))
    );
    assert!(!cutter.armed.load(Ordering::SeqCst), "each commit was interrupted");
    drop(effects);
    assert_eq!(process.slots.in_use(Api::Widget) + process.slots.in_use(Api::Platform), 0);
    assert_invariants(&db).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_end_waits_for_the_database_after_an_uncertain_commit() {
    let db = store::postgres().await;
    let seeded = seed::workspace(&db, 1_000_000).await;
    let cutter = Cutter::start(&db.url()).await;
    let mut process = cutter.process(&db).await;
    let conversation = process.conversation(&seeded, ConversationKind::Widget).await;
    let (first, second) = (process.ask(&conversation).await, process.ask(&conversation).await);
    process.effects(1).await;

    cutter.armed.store(true, Ordering::SeqCst);
    let refused = process.writer.execute(admission(&conversation, Api::Widget));
    let disconnect = async {
        wait_for("the interrupted commit", async || (!cutter.armed.load(Ordering::SeqCst)).then_some(()))
            .await;
        cutter.refusing.store(true, Ordering::SeqCst);
    };
    let (refused, ()) = tokio::join!(refused, disconnect);
    if let Err(refused) = &refused {
        assert!(matches!(refused, Error::Unavailable { outcome_unknown: true, .. }), "{refused:?}");
    }
    {
        let completing = process.complete(first, 1);
        tokio::pin!(completing);
        let waiting = tokio::time::timeout(Duration::from_millis(200), &mut completing).await;
        assert!(waiting.is_err(), "the database is unavailable");
        cutter.refusing.store(false, Ordering::SeqCst);
        assert!(matches!(within("the end", completing).await, TurnWriteOutcome::Accepted(_)));
    }

    // If the third message was refused, its turn is ended before it runs.
    let started = process.effects(if refused.is_err() { 3 } else { 2 }).await;
    assert!(
        started
            .iter()
            .any(|effect| matches!(effect, Effect::Started(started, _) if started.turn.id == second.turn))
    );
    // Its client was told that the outcome is unknown, so the turn must not run later.
    if refused.is_err() {
        wait_for("the end of the third turn", async || {
            (seed::query_number(&db, "select count(*) from turns where state = 'failed'").await == 1)
                .then_some(())
        })
        .await;
    }
    assert_invariants(&db).await;
}

/// Runs a locking statement in a transaction that is rolled back when it is dropped.
async fn hold_lock(store: &Db, statement: &'static str) -> Tx {
    let mut tx = store.begin().await.unwrap();
    let Conn::Postgres(conn) = tx.conn() else { panic!("a PostgreSQL") };
    sqlx::query("set local idle_in_transaction_session_timeout = 0").execute(&mut *conn).await.unwrap();
    sqlx::query(statement).execute(&mut *conn).await.unwrap();
    tx
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_abandoned_admission_does_not_run_later() {
    let db = store::postgres().await;
    let seeded = seed::workspace(&db, 1_000_000).await;
    let process = Process::start(&db).await;
    let conversation = process.conversation(&seeded, ConversationKind::Widget).await;
    let other = Process::start(&db).await;
    let lock = hold_lock(&other.db, "select * from workspace_state for update").await;

    let stalled = process.writer.execute(admission(&conversation, Api::Widget));
    let (stalled, behind) =
        tokio::join!(stalled, process.writer.execute(admission(&conversation, Api::Platform)));
    // Both are dropped undecided.
    assert!(matches!(stalled, Err(Error::Unavailable { outcome_unknown: false, .. })), "{stalled:?}");
    assert!(behind.is_err());
    drop(lock);

    // The shard continues without either of them.
    let turn = within("an admission", async {
        loop {
            if let Ok(AdmitOutcome::Waiting(turn)) =
                process.writer.execute(admission(&conversation, Api::Widget)).await
            {
                return turn;
            }
        }
    })
    .await;
    wait_for("the only open turn", async || {
        (seed::query_number(&db, "select open_turns from conversations").await == 1).then_some(())
    })
    .await;
    let turn = process.turn(turn_ref(&conversation, turn)).await;
    assert_eq!(turn.state, TurnState::Running);
    assert_invariants(&db).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_admission_abandoned_after_the_commit_is_ended_before_it_runs() {
    let db = store::postgres().await;
    let seeded = seed::workspace(&db, 1_000_000).await;
    let mut process = Process::start(&db).await;
    let conversation = process.conversation(&seeded, ConversationKind::Widget).await;
    let other = Process::start(&db).await;
    // A batch can read, but not write.
    let lock = hold_lock(&other.db, "lock table messages in exclusive mode").await;

    let abandoned = process.writer.execute(admission(&conversation, Api::Widget)).await;
    drop(lock);

    assert!(matches!(abandoned, Err(Error::Unavailable { outcome_unknown: true, .. })), "{abandoned:?}");
    let failed = "select count(*) from turns where state = 'failed'";
    wait_for("the end of its turn", async || (seed::query_number(&db, failed).await == 1).then_some(()))
        .await;
    assert_eq!(balance(&process.db, seeded.workspace).await, 1_000_000);
    let effects = process.effects(1).await;
    assert!(!effects.iter().any(|effect| matches!(effect, Effect::Started(..))), "{effects:?}");
    assert_invariants(&db).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_terminated_backend_duplicates_nothing() {
    let db = store::postgres().await;
    let seeded = seed::workspace(&db, 10_000_000).await;
    let process = Process::start(&db).await;
    let conversations =
        join_all((0..8).map(|_| process.conversation(&seeded, ConversationKind::Widget))).await;
    let kill = async {
        loop {
            seed::execute(
                &db,
                "select pg_terminate_backend(pid) from pg_stat_activity where datname = current_database() \
                and application_name = 'rejoinder' and xact_start is not null limit 1",
            )
            .await;
            tokio::task::yield_now().await;
        }
    };
    let load = join_all(conversations.iter().map(async |conversation| {
        let mut sent = 0;
        for _ in 0..10 {
            sent += usize::from(process.writer.execute(admission(conversation, Api::Widget)).await.is_ok());
        }
        sent
    }));

    let sent = tokio::select! { sent = load => sent, () = kill => Vec::new() };

    let stored = seed::query_number(&db, "select count(*) from turns where state <> 'failed'").await;
    assert!(usize::try_from(stored).unwrap() >= sent.iter().sum::<usize>());
    assert_invariants(&db).await;
}

both_backends!(
    async fn a_failing_statement_refuses_only_its_own_command(db: TestDb) {
        let seeded = seed::workspace(&db, 1_000_000).await;
        let process = Process::start(&db).await;
        let conversation = process.conversation(&seeded, ConversationKind::Widget).await;
        let first = process.ask(&conversation).await;
        seed::execute(&db, "alter table journal rename to moved").await;

        let journalled = process.writer.execute(journal_append(first, 1, None)).await;
        let another = process.ask(&conversation).await;

        assert!(matches!(journalled, Err(Error::Internal { .. })), "{journalled:?}");
        assert_eq!(process.turn(another).await.state, TurnState::Waiting);
    }
);
