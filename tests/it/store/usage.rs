//! Usage equals the journal and the ledger, whenever it is counted and by whomever, and does not depend on them afterwards.

use std::collections::BTreeMap;
use std::time::Duration;

use futures::future::join_all;
use proptest::prelude::*;
use proptest::strategy::ValueTree as _;
use proptest::test_runner::{Config, TestRunner};
use rejoinder::domain::clock::{Clock as _, Micros};
use rejoinder::domain::conversation::{Conversation, ConversationKind};
use rejoinder::domain::failure::Failure;
use rejoinder::domain::ids::{KeyId, WorkspaceId};
use rejoinder::domain::journal::JournalRow;
use rejoinder::domain::money::Money;
use rejoinder::domain::turn::{Api, TurnEnd, TurnRef};
use rejoinder::domain::usage::{Figures, Group, Period, UsageRow};
use rejoinder::service::usage::{catch_up, count_part};
use rejoinder::store::{Conn, Db, Tenant, usage, workspace_removal};
use rejoinder::writer::{Admission, AppendJournal, EndAuthority, EndTurn, RetryTurn};
use serde_json::json;
use uuid::Uuid;

use crate::support::db::{TestDb, both_backends};
use crate::support::seed::{self, query_number};
use crate::support::writer_process::{Process, admission, completed, end_conversation, end_turn, turn_ref};

const MODELS: [(&str, &str); 3] = [("default", "small"), ("default", "large"), ("backup", "small")];
const KEY: KeyId = KeyId(Uuid::from_u128(77));

/// How a turn ends.
#[derive(Clone, Copy, Debug)]
enum End {
    Completed,
    Failed,
    /// Its conversation ends.
    Discarded,
    /// It is handed back for another attempt, and fails then.
    Retried,
    /// Not yet.
    Open,
}

/// An answer of a model: the index of the model, and its calls.
type Answer = (usize, usize);

#[derive(Clone, Debug)]
enum Op {
    Turn { kind: usize, has_key: bool, answers: Vec<Answer>, end: End },
    Note,
    Wait { minutes: u64 },
    Count,
}

fn op() -> impl Strategy<Value = Op> {
    let end = prop_oneof![
        4 => Just(End::Completed),
        2 => Just(End::Failed),
        1 => Just(End::Discarded),
        1 => Just(End::Retried),
        1 => Just(End::Open),
    ];
    let answers = proptest::collection::vec((0..MODELS.len(), 0..3_usize), 0..4);
    prop_oneof![
        6 => (0..3_usize, any::<bool>(), answers, end)
            .prop_map(|(kind, has_key, answers, end)| Op::Turn { kind, has_key, answers, end }),
        1 => Just(Op::Note),
        2 => (1..90_u64).prop_map(|minutes| Op::Wait { minutes }),
        2 => Just(Op::Count),
    ]
}

/// What the journals of ended turns have, by model.
type Journal = BTreeMap<(String, String), Figures>;

fn answer_row(turn: TurnRef, step: i64, model: usize) -> (JournalRow, Figures) {
    let (connection, model) = MODELS[model];
    let usage = json!({"input": 100 + step, "cached": 10, "output": 20, "reasoning": 3});
    let content =
        json!({"connection": connection, "model": model, "answer": {"text": "\u{0}Grüße", "usage": usage}});
    let row = JournalRow {
        turn,
        step,
        position: 0,
        attempt: 1,
        started_at: Micros(1),
        finished_at: Some(Micros(2)),
        content: content.to_string(),
        result: None,
    };
    let figures = Figures {
        model_calls: 1,
        input_tokens: 100 + step,
        cached_tokens: 10,
        output_tokens: 20,
        reasoning_tokens: 3,
        ..Figures::default()
    };
    (row, figures)
}

/// Journals answers with their calls, and returns their figures by model.
async fn journal(process: &Process, turn: TurnRef, answers: &[Answer]) -> Journal {
    let mut journal = Journal::new();
    for (step, (model, calls)) in (0_i64..).zip(answers) {
        let (row, mut figures) = answer_row(turn, step, *model);
        let call =
            |position| JournalRow { position, finished_at: None, content: "{}".to_owned(), ..row.clone() };
        let starting: Vec<_> = (1_i64..).take(*calls).map(call).collect();
        figures.tool_calls = i64::try_from(*calls).unwrap();
        let rows = vec![row];
        let append = AppendJournal { turn, fence: 1, rows, starting, result: None, write: None, tokens: 0 };
        process.writer.execute(append).await.unwrap();
        let (connection, model) = MODELS[*model];
        *journal.entry((connection.to_owned(), model.to_owned())).or_default() += figures;
    }
    journal
}

async fn end(process: &Process, conversation: &Conversation, turn: TurnRef, end: End) {
    let failed = TurnEnd::Failed(Failure::ModelUnavailable);
    match end {
        End::Completed => {
            process.complete(turn, 1).await;
        }
        End::Failed => {
            let end = end_turn(turn, EndAuthority::Owner { fence: 1 }, failed);
            process.writer.execute(end).await.unwrap();
        }
        End::Discarded => {
            process.change(conversation, end_conversation()).await.unwrap();
        }
        End::Retried => {
            let delay = Duration::ZERO;
            let retry = RetryTurn { turn, fence: 1, delay, model_error: None, tokens: 0 };
            process.writer.execute(retry).await.unwrap();
            process.writer.execute(end_turn(turn, EndAuthority::ClientGone, failed)).await.unwrap();
        }
        End::Open => {}
    }
}

/// Turns that are still open, with their journals.
type Open = Vec<(Conversation, TurnRef, Journal)>;

async fn run(db: &TestDb, process: &Process, seeded: &seed::Seed, ops: &[Op]) -> (Journal, Open) {
    let (mut ended, mut open) = (Journal::new(), Open::new());
    for op in ops {
        match op {
            Op::Turn { kind, has_key, answers, end: how } => {
                let conversation = process.conversation(seeded, ConversationKind::ALL[*kind]).await;
                let admission =
                    Admission { key: has_key.then_some(KEY), ..admission(&conversation, Api::Platform) };
                let turn = turn_ref(&conversation, admission.turn);
                process.writer.execute(admission).await.unwrap();
                let journal = journal(process, turn, answers).await;
                end(process, &conversation, turn, *how).await;
                if matches!(how, End::Open) {
                    open.push((conversation, turn, journal));
                } else {
                    add(&mut ended, journal);
                }
            }
            Op::Note => {
                let conversation = process.conversation(seeded, ConversationKind::Api).await;
                let note = Admission { auto_reply: Some(false), ..admission(&conversation, Api::Platform) };
                process.writer.execute(note).await.unwrap();
            }
            Op::Wait { minutes } => process.advance_clock(db, Duration::from_mins(*minutes)).await,
            Op::Count => {
                count_part(&process.db, Tenant::Process, seeded.workspace).await.unwrap();
            }
        }
    }
    (ended, open)
}

fn add(sums: &mut Journal, more: Journal) {
    for (model, figures) in more {
        *sums.entry(model).or_default() += figures;
    }
}

async fn sums(
    db: &Db,
    workspace: Option<WorkspaceId>,
    buckets: &[Period],
    groups: &[Group],
) -> Vec<UsageRow> {
    let sum = async |conn: Conn<'_>| usage::sum(conn, workspace, buckets, groups).await;
    db.read(Tenant::Process, sum).await.unwrap()
}

const ALL_TIME: Period = Period { start: Micros(0), end: Micros(i64::MAX) };

fn total(rows: &[UsageRow]) -> Figures {
    let mut total = Figures::default();
    for row in rows {
        total += row.figures;
    }
    total
}

/// The figures that the ledger, the turns and the messages give.
async fn expected(db: &TestDb, workspace: WorkspaceId, journal: &Journal) -> Figures {
    let w = seed::literal(db, workspace.0);
    let ledger = async |kind: &str| {
        let sum = format!(
            "select coalesce(sum(amount), 0) from ledger where workspace_id = {w} and kind = '{kind}'"
        );
        Money(query_number(db, &sum).await)
    };
    let turns = async |state: &str| {
        query_number(
            db,
            &format!("select count(*) from turns where workspace_id = {w} and state = '{state}'"),
        )
        .await
    };
    let mut expected = Figures {
        messages: query_number(db, &format!("select count(*) from messages where workspace_id = {w}")).await,
        turns_completed: turns("completed").await,
        turns_failed: turns("failed").await,
        turns_discarded: turns("discarded").await,
        charged: ledger("charge").await.negated(),
        refunded: ledger("refund").await,
        credited: ledger("top_up").await,
        ..Figures::default()
    };
    for figures in journal.values() {
        expected += *figures;
    }
    expected
}

async fn assert_equal(db: &TestDb, process: &Process, workspace: WorkspaceId, journal: &Journal) {
    catch_up(&process.db, workspace).await.unwrap();
    let expected = expected(db, workspace, journal).await;
    let whole = sums(&process.db, Some(workspace), &[ALL_TIME], &[]).await;
    assert_eq!(total(&whole), expected);
    assert_eq!(whole.len(), 1);
    let grouped = sums(&process.db, Some(workspace), &[ALL_TIME], Group::ALL).await;
    assert_eq!(total(&grouped), expected);
    let by_model = sums(&process.db, Some(workspace), &[ALL_TIME], &[Group::Model]).await;
    let by_model: Journal = by_model
        .into_iter()
        .filter(|row| !row.key.model.is_empty())
        .map(|row| ((row.key.connection, row.key.model), row.figures))
        .collect();
    assert_eq!(by_model, *journal);
}

async fn check(db: &TestDb, ops: &[Op]) {
    let (seeded, other) = (seed::workspace(db, 10_000_000).await, seed::workspace(db, 1_000_000).await);
    let process = Process::start(db).await;

    let (mut journal, open) = run(db, &process, &seeded, ops).await;
    assert_equal(db, &process, seeded.workspace, &journal).await;
    for (conversation, turn, of_turn) in open {
        end(&process, &conversation, turn, End::Completed).await;
        add(&mut journal, of_turn);
    }
    assert_equal(db, &process, seeded.workspace, &journal).await;

    let before = sums(&process.db, Some(seeded.workspace), &[ALL_TIME], Group::ALL).await;
    assert_eq!(total(&sums(&process.db, Some(other.workspace), &[ALL_TIME], &[]).await), Figures::default());
    seed::execute(
        db,
        "delete from journal; delete from deliveries; delete from events; delete from messages; delete from turns",
    )
    .await;
    catch_up(&process.db, seeded.workspace).await.unwrap();
    assert_eq!(sums(&process.db, Some(seeded.workspace), &[ALL_TIME], Group::ALL).await.len(), before.len());
    assert_eq!(total(&sums(&process.db, Some(seeded.workspace), &[ALL_TIME], &[]).await), total(&before));
}

both_backends!(
    async fn usage_equals_the_journal_and_the_ledger(db: TestDb) {
        let mut runner = TestRunner::new_with_rng(
            Config { failure_persistence: None, ..Config::default() },
            proptest::test_runner::TestRng::deterministic_rng(proptest::test_runner::RngAlgorithm::ChaCha),
        );
        for _ in 0..6 {
            let ops = proptest::collection::vec(op(), 1..40).new_tree(&mut runner).unwrap().current();
            check(&db, &ops).await;
        }
    }
);

/// The turns of a workspace, completed one after the other.
async fn complete_turns(process: &Process, seeded: &seed::Seed, count: usize) {
    for _ in 0..count {
        let conversation = process.conversation(seeded, ConversationKind::Widget).await;
        let turn = process.ask(&conversation).await;
        process.complete(turn, 1).await;
    }
}

both_backends!(
    async fn what_several_processes_count_at_once_counts_once(db: TestDb) {
        let seeded = seed::workspace(&db, 10_000_000).await;
        let process = Process::start(&db).await;
        let peer = crate::support::store::open(&db).await;
        // More than one part.
        complete_turns(&process, &seeded, 150).await;

        let counting = [&process.db, &peer, &process.db, &peer].map(|db| catch_up(db, seeded.workspace));
        for counted in join_all(counting).await {
            counted.unwrap();
        }

        assert_equal(&db, &process, seeded.workspace, &Journal::new()).await;
        let list = async |conn: Conn<'_>| usage::list_behind(conn, WorkspaceId(Uuid::nil()), 10).await;
        assert_eq!(process.db.read(Tenant::Process, list).await.unwrap(), []);
        complete_turns(&process, &seeded, 1).await;
        assert_eq!(process.db.read(Tenant::Process, list).await.unwrap(), [seeded.workspace]);
    }
);

both_backends!(
    async fn a_workspace_that_is_being_removed_is_not_counted_again(db: TestDb) {
        let seeded = seed::workspace(&db, 10_000_000).await;
        let process = Process::start(&db).await;
        complete_turns(&process, &seeded, 2).await;
        catch_up(&process.db, seeded.workspace).await.unwrap();
        let before = total(&sums(&process.db, Some(seeded.workspace), &[ALL_TIME], &[]).await);

        for table in workspace_removal::REMOVED_TABLES {
            let workspace = seeded.workspace;
            let remove =
                async |conn: Conn<'_>| workspace_removal::remove_rows(conn, table, workspace, 1000).await;
            process.db.write(Tenant::Process, remove).await.unwrap();
        }
        catch_up(&process.db, seeded.workspace).await.unwrap();
        let during = total(&sums(&process.db, Some(seeded.workspace), &[ALL_TIME], &[]).await);
        let now = process.clock.now();
        let finish = async |conn: Conn<'_>| workspace_removal::finish(conn, seeded.workspace, now).await;
        process.db.write(Tenant::Process, finish).await.unwrap();
        catch_up(&process.db, seeded.workspace).await.unwrap();

        let after = total(&sums(&process.db, Some(seeded.workspace), &[ALL_TIME], &[]).await);
        assert!(before.charged > Money::ZERO);
        assert_eq!((during, after), (before, before));
        assert_eq!(query_number(&db, "select count(*) from usage_positions").await, 0);
    }
);

both_backends!(
    async fn a_refund_counts_when_it_is_made(db: TestDb) {
        let seeded = seed::workspace(&db, 10_000_000).await;
        let process = Process::start(&db).await;
        let hour = Duration::from_hours(1);
        let first = process.clock.now();
        let buckets = [
            Period { start: first, end: first.plus(hour) },
            Period { start: first.plus(hour), end: first.plus(2 * hour) },
        ];
        let conversation = process.conversation(&seeded, ConversationKind::Widget).await;
        let turn = process.ask(&conversation).await;
        catch_up(&process.db, seeded.workspace).await.unwrap();
        let closed = sums(&process.db, Some(seeded.workspace), &buckets, &[]).await;

        process.advance_clock(&db, hour).await;
        end(&process, &conversation, turn, End::Failed).await;
        catch_up(&process.db, seeded.workspace).await.unwrap();

        let mut all = sums(&process.db, Some(seeded.workspace), &buckets, &[]).await;
        all.sort_by_key(|row| row.key.start);
        assert_eq!(closed.len(), 1);
        assert_eq!(all[0], closed[0], "a bucket that is over does not change");
        assert_eq!((all[0].figures.charged, all[0].figures.refunded), (Money(10_000), Money::ZERO));
        assert_eq!((all[1].figures.charged, all[1].figures.refunded), (Money::ZERO, Money(10_000)));
        assert_eq!(all[1].figures.turns_failed, 1);
    }
);

both_backends!(
    async fn figures_belong_to_assistants_and_keys(db: TestDb) {
        let (seeded, other) = (seed::workspace(&db, 1_000_000).await, seed::workspace(&db, 1_000_000).await);
        let process = Process::start(&db).await;
        let conversation = process.conversation(&seeded, ConversationKind::Api).await;
        let with_key = Admission { key: Some(KEY), ..admission(&conversation, Api::Platform) };
        let turn = turn_ref(&conversation, with_key.turn);
        process.writer.execute(with_key).await.unwrap();
        let end = EndTurn {
            journal: Some(answer_row(turn, 0, 1).0),
            ..end_turn(turn, EndAuthority::Owner { fence: 1 }, completed("Yes"))
        };
        process.writer.execute(end).await.unwrap();
        complete_turns(&process, &other, 2).await;
        for workspace in [seeded.workspace, other.workspace] {
            catch_up(&process.db, workspace).await.unwrap();
        }

        let by_key = sums(&process.db, Some(seeded.workspace), &[ALL_TIME], &[Group::Key]).await;
        let of_key = by_key.iter().find(|row| row.key.key == KEY).unwrap();
        let groups = [Group::Workspace, Group::Assistant];
        let of_all = sums(&process.db, None, &[ALL_TIME], &groups).await;
        let of_other =
            of_all.iter().find(|row| row.key.workspace == other.workspace && row.figures.turns_completed > 0);

        assert_eq!((of_key.figures.messages, of_key.figures.turns_completed), (2, 1));
        assert_eq!((of_key.figures.input_tokens, of_key.figures.charged), (100, Money(10_000)));
        assert_eq!(of_other.unwrap().figures.turns_completed, 2);
        assert_eq!(of_other.unwrap().key.assistant, other.assistant);
    }
);
