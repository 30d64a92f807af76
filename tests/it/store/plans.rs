//! The cost of a batch: its round trips, and plans that need no statistics.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use futures::future::join_all;
use rejoinder::domain::audit::{AuditAction, AuditFilter, ObjectKind};
use rejoinder::domain::clock::Clock as _;
use rejoinder::domain::conversation::{Conversation, ConversationKind};
use rejoinder::domain::erasure::Person;
use rejoinder::domain::turn::Api;
use rejoinder::store::erasures::targets;
use rejoinder::store::turns::claims::{ClaimRequest, claim, list_due};
use rejoinder::store::{Conn, ReadLimit, Tenant, audit};
use rejoinder::writer::{Admission, TurnWriteOutcome};

use crate::support::db::TestDb;
use crate::support::proxy::Proxy;
use crate::support::seed;
use crate::support::store;
use crate::support::wait::wait_for;
use crate::support::writer_process::{BOUNDS, Process, admission, with_key};

/// The tables that grow with use.
const GROWING: &str = "('conversations', 'widget_links', 'messages', 'turns', 'journal', 'ledger', 'events', \
    'deliveries', 'attempts', 'idempotency')";

/// A platform message without a reply.
fn note(conversation: &Conversation) -> Admission {
    Admission { auto_reply: Some(false), ..admission(conversation, Api::Platform) }
}

async fn enqueue(process: &Process, conversations: &[Conversation], each: usize) {
    for _ in 0..each {
        let batch = conversations.iter().map(|conversation| {
            let message = with_key(note(conversation), &uuid::Uuid::now_v7().to_string(), "body");
            process.writer.execute(message)
        });
        for outcome in join_all(batch).await {
            outcome.unwrap();
        }
    }
}

async fn number(db: &TestDb, select: &str) -> i64 {
    seed::query_texts(db, select).await[0].parse().unwrap()
}

/// Rows that statements have read by walking a whole table, once all writes so far are counted.
async fn rows_scanned(db: &TestDb) -> i64 {
    let stored = number(db, "select (next_cursor - 1)::text from workspace_state").await;
    let counted = async || {
        let counted =
            number(db, "select n_tup_ins::text from pg_stat_user_tables where relname = 'events'").await;
        (counted >= stored).then_some(())
    };
    wait_for("the statistics of all writes", counted).await;
    let scanned =
        format!("select sum(seq_tup_read)::bigint::text from pg_stat_user_tables where relname in {GROWING}");
    number(db, &scanned).await
}

/// Queues a turn in each of these conversations, and claims them.
async fn claim_queued(process: &Process, conversations: &[Conversation]) {
    process.lease.mark_lost();
    for conversation in conversations {
        process.ask(conversation).await;
    }
    process.lease.extend_until(Instant::now() + Duration::from_hours(1));
    let clock = process.clock.as_ref();
    let list = async |conn: Conn<'_>| list_due(conn, Api::Widget, clock).await;
    let due = process.db.read(Tenant::Process, list).await.unwrap();
    let requests: Vec<_> =
        due.into_iter().map(|due| ClaimRequest { workspace: due.workspace, count: 9 }).collect();
    let claim = async |conn: Conn<'_>| claim(conn, process.id, Api::Widget, &requests, 20, clock).await;
    assert_eq!(process.db.write(Tenant::Process, claim).await.unwrap().len(), conversations.len());
}

/// The entries of indexes of a table that the transaction has read, and the rows, if it has walked the table.
async fn entries_read(conn: Conn<'_>, table: &str) -> i64 {
    let Conn::Postgres(conn) = conn else { panic!("a PostgreSQL") };
    let read = "select (coalesce(sum(pg_stat_get_xact_tuples_returned(indexrelid)), 0) \
        + pg_stat_get_xact_tuples_returned($1::regclass))::bigint from pg_index where indrelid = $1::regclass";
    sqlx::query_scalar::<_, i64>(read).bind(table).fetch_one(conn).await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_claim_reads_only_the_turns_of_its_workspaces() {
    let db = store::postgres().await;
    let (greedy, honest) = (seed::workspace(&db, 1_000_000_000).await, seed::workspace(&db, 1_000_000).await);
    let process = Process::start_with(&db, store::open(&db).await, BOUNDS, 0).await;
    for (seeded, count) in [(&greedy, 500), (&honest, 1)] {
        join_all((0..count).map(|_| async {
            let conversation = process.conversation(seeded, ConversationKind::Widget).await;
            process.ask(&conversation).await;
        }))
        .await;
    }
    // In one transaction, which has its own statistics.
    let mut tx = process.db.begin().await.unwrap();
    let before = entries_read(tx.conn(), "turns").await;

    let clock = process.clock.as_ref();
    let due = list_due(tx.conn(), Api::Widget, clock).await.unwrap();
    let request = ClaimRequest { workspace: honest.workspace, count: 9 };
    let claimed = claim(tx.conn(), process.id, Api::Widget, &[request], 20, clock).await.unwrap();

    assert_eq!((due.len(), claimed.len()), (2, 1));
    let read = entries_read(tx.conn(), "turns").await - before;
    assert!(read < 50, "{read} entries of indexes were read, and the other workspace has 500 turns");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_page_of_a_persons_conversations_reads_no_others() {
    let db = store::postgres().await;
    let seeded = seed::workspace(&db, 1_000_000).await;
    let process = Process::start(&db).await;
    let mut created = BTreeSet::new();
    for _ in 0..200 {
        created.insert(process.conversation(&seeded, ConversationKind::Widget).await.id);
    }
    let names = "update conversations set external_identifier = 'ada', identity = 'ada', deleted_at = 7";
    seed::execute(&db, names).await;
    let position = (created.iter().nth(100).copied(), process.clock.now());
    let mut tx = process.db.begin().await.unwrap();

    for person in [Person::ExternalIdentifier("ada".to_owned()), Person::Identity("ada".to_owned())] {
        let before = entries_read(tx.conn(), "conversations").await;
        let page = targets::list_by_person(tx.conn(), seeded.workspace, &person, position, 8).await.unwrap();
        let read = entries_read(tx.conn(), "conversations").await - before;

        assert_eq!(page.len(), 8);
        assert!(read < 20, "{read} entries were read for 8 conversations of {person:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_filter_of_the_audit_log_of_all_workspaces_reads_only_what_matches() {
    let db = store::postgres().await;
    let store = store::open(&db).await;
    let entries = "insert into audit_log (id, created_at, actor_kind, actor_name, action, object_kind, object_id) \
        select gen_random_uuid(), n, 'server', '', case when n % 100 = 0 then 'deleted' else 'updated' end, \
        case when n % 100 = 0 then 'tool' else 'assistant' end, '' from generate_series(1, 500) as n; \
        analyze audit_log";
    seed::execute(&db, entries).await;
    let by_action = AuditFilter { action: Some(AuditAction::Deleted), ..AuditFilter::default() };
    let by_kind = AuditFilter { object_kind: Some(ObjectKind::Tool), ..AuditFilter::default() };
    let mut tx = store.begin().await.unwrap();

    for filter in [by_action, by_kind] {
        let before = entries_read(tx.conn(), "audit_log").await;
        let limit = ReadLimit { rows: 3, bytes: i64::MAX };
        let page = audit::list_before(tx.conn(), &filter, None, limit).await.unwrap();
        let read = entries_read(tx.conn(), "audit_log").await - before;

        assert_eq!(page.rows.len(), 3);
        assert!(read < 20, "{read} entries were read for 3 of {filter:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_statement_walks_a_table_that_was_never_analysed() {
    let db = store::postgres().await;
    let seeded = seed::workspace(&db, 1_000_000_000).await;
    let process = Process::start(&db).await;
    let mut conversations = Vec::new();
    for _ in 0..200 {
        conversations.push(process.conversation(&seeded, ConversationKind::Widget).await);
    }
    // Plans are made while the tables are small, and cached.
    enqueue(&process, &conversations, 5).await;
    let before = rows_scanned(&db).await;

    claim_queued(&process, &conversations[190..195]).await;
    enqueue(&process, &conversations, 100).await;
    for conversation in &conversations[..50] {
        let turn = process.ask(conversation).await;
        assert!(matches!(process.complete(turn, 1).await, TurnWriteOutcome::Accepted(_)));
    }

    assert_eq!(rows_scanned(&db).await - before, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_batch_takes_few_round_trips() {
    let db = store::postgres().await;
    let proxy = Proxy::start(&db.url()).await;
    let seeded = seed::workspace(&db, 1_000_000_000).await;
    // One connection, so that all statements are prepared on it.
    let store = rejoinder::store::Db::postgres(proxy.url(), 1, 1).await.unwrap();
    let process = Process::start_with(&db, store, BOUNDS, 1000).await;
    let conversation = process.conversation(&seeded, ConversationKind::Widget).await;

    let mut counted = [0; 4];
    for _ in 0..3 {
        let start = proxy.round_trips();
        process.writer.execute(note(&conversation)).await.unwrap();
        let enqueued = proxy.round_trips();
        let keyed = with_key(note(&conversation), &uuid::Uuid::now_v7().to_string(), "body");
        process.writer.execute(keyed).await.unwrap();
        let with_a_key = proxy.round_trips();
        let turn = process.ask(&conversation).await;
        let admitted = proxy.round_trips();
        process.complete(turn, 1).await;
        let ended = proxy.round_trips();
        counted = [enqueued - start, with_a_key - enqueued, admitted - with_a_key, ended - admitted];
    }

    // Begin, lock the workspace, lock the conversation, write, commit; a key or a turn is one more.
    assert_eq!(counted, [5, 6, 5, 6]);
}
