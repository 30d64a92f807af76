//! Idempotency keys: one message a key, whatever its client does.

use std::sync::Arc;
use std::time::Duration;

use futures::future::join_all;
use rejoinder::domain::audit::Actor;
use rejoinder::domain::clock::Clock;
use rejoinder::domain::conversation::ConversationKind;
use rejoinder::domain::error::Error;
use rejoinder::domain::idempotency::IdempotencyKey;
use rejoinder::domain::money::Money;
use rejoinder::domain::render::{RenderedResponse, widget_turn_end};
use rejoinder::domain::turn::Api;
use rejoinder::store::{Conn, Tenant, idempotency};
use rejoinder::writer::{AdmitOutcome, EndAuthority, TopUp, decide_inline};

use crate::support::db::{Backend, both_backends};
use crate::support::seed::{self, assert_invariants};
use crate::support::wait::wait_for;
use crate::support::writer_process::{Process, admission, completed, end_turn, turn_ref, with_key};

async fn stored_answer(process: &Process, key: &IdempotencyKey) -> RenderedResponse {
    let find = async |conn: Conn<'_>| idempotency::find_answer(conn, key).await;
    process.db.read(Tenant::Process, find).await.unwrap().unwrap()
}

both_backends!(
    async fn a_key_is_one_message_for_a_day(db: TestDb) {
        let seeded = seed::workspace(&db, 1_000_000).await;
        let process = Process::start(&db).await;
        let conversation = process.conversation(&seeded, ConversationKind::Widget).await;
        let ask =
            |body: &str| process.writer.execute(with_key(admission(&conversation, Api::Widget), "k", body));

        // Twenty twins, most of them in one batch: one is the first, the others wait for its turn.
        let outcomes = join_all((0..20).map(|_| ask("body"))).await;

        let first = outcomes.iter().find_map(|outcome| match outcome {
            Ok(AdmitOutcome::Waiting(turn)) => Some(*turn),
            _ => None,
        });
        let turn = first.unwrap();
        let warning = Some("body.a".to_owned());
        let duplicate = AdmitOutcome::InFlightDuplicate { turn, warning: warning.clone() };
        let duplicates =
            outcomes.iter().filter(|outcome| matches!(outcome, Ok(found) if *found == duplicate));
        assert_eq!(duplicates.count(), 19);
        assert!(matches!(ask("another body").await, Err(Error::IdempotencyKeyReused)));

        let end = completed("The answer");
        process
            .writer
            .execute(end_turn(turn_ref(&conversation, turn), EndAuthority::ClientGone, end.clone()))
            .await
            .unwrap();
        let AdmitOutcome::Replayed { key, turn: replayed, warning: stored } = ask("body").await.unwrap()
        else {
            panic!("not replayed")
        };
        assert_eq!((replayed, stored), (Some(turn), warning), "the end of the turn keeps the warning");
        assert_eq!(stored_answer(&process, &key).await, widget_turn_end(&end));
        assert_eq!(seed::query_number(&db, "select count(*) from messages").await, 2);

        process.advance_clock(&db, Duration::from_hours(24)).await;
        assert!(matches!(ask("another body").await.unwrap(), AdmitOutcome::Waiting(_)));
        assert_invariants(&db).await;
    }
);

both_backends!(
    async fn keys_of_two_conversations_or_workspaces_are_separate(db: TestDb) {
        let seeds = [seed::workspace(&db, 1_000_000).await, seed::workspace(&db, 1_000_000).await];
        let process = Process::start(&db).await;
        for seeded in &seeds {
            for _ in 0..2 {
                let conversation = process.conversation(seeded, ConversationKind::Widget).await;
                let admitted = process
                    .writer
                    .execute(with_key(admission(&conversation, Api::Widget), "k", "body"))
                    .await;
                assert!(matches!(admitted.unwrap(), AdmitOutcome::Waiting(_)));
            }
        }
    }
);

both_backends!(
    async fn a_refused_message_stores_no_key(db: TestDb) {
        let seeded = seed::workspace(&db, 0).await;
        let process = Process::start(&db).await;
        let conversation = process.conversation(&seeded, ConversationKind::Widget).await;
        let ask = || process.writer.execute(with_key(admission(&conversation, Api::Widget), "k", "body"));
        assert!(matches!(ask().await, Err(Error::InsufficientBalance)));
        let credit = TopUp {
            workspace: seeded.workspace,
            amount: Money(10_000),
            reference: "invoice 1".to_owned(),
            actor: Arc::new(Actor::server()),
        };

        let clock = process.clock.as_ref();
        let grant = async |conn: Conn<'_>| decide_inline(conn, clock, &process.context.ids, &credit).await;
        process.db.write(Tenant::Process, grant).await.unwrap().unwrap();
        let again = process.db.write(Tenant::Process, grant).await.unwrap();

        assert!(matches!(again, Err(Error::Invalid(_))), "a reference counts once");
        assert!(matches!(ask().await.unwrap(), AdmitOutcome::Waiting(_)));
        assert_invariants(&db).await;
    }
);

both_backends!(
    async fn a_platform_key_replays_its_acknowledgement(db: TestDb) {
        let seeded = seed::workspace(&db, 1_000_000).await;
        let process = Process::start(&db).await;
        let conversation = process.conversation(&seeded, ConversationKind::Api).await;
        let ask = || process.writer.execute(with_key(admission(&conversation, Api::Platform), "k", "body"));

        let outcomes = join_all((0..5).map(|_| ask())).await;

        let mut answers = Vec::new();
        for outcome in outcomes {
            match outcome.unwrap() {
                AdmitOutcome::Answered { answer, .. } => answers.push(answer),
                AdmitOutcome::Replayed { key, .. } => answers.push(stored_answer(&process, &key).await),
                other => panic!("{other:?}"),
            }
        }
        answers.dedup();
        assert_eq!(answers.len(), 1);
        assert_eq!(seed::query_number(&db, "select count(*) from turns").await, 1);
        assert_invariants(&db).await;
    }
);

both_backends!(
    async fn a_batch_finds_keys_without_reading_their_responses(db: TestDb) {
        let seeded = seed::workspace(&db, 1_000_000).await;
        let process = Process::start(&db).await;
        let conversation = process.conversation(&seeded, ConversationKind::Api).await;
        let ask = || process.writer.execute(with_key(admission(&conversation, Api::Platform), "k", "body"));
        ask().await.unwrap();
        // A batch that read the response would find none, and store the message again.
        seed::execute(&db, "update idempotency set body = null").await;

        let AdmitOutcome::Replayed { key, .. } = ask().await.unwrap() else { panic!("not replayed") };

        let read = async |conn: Conn<'_>| idempotency::find_answer(conn, &key).await;
        assert_eq!(process.db.read(Tenant::Process, read).await.unwrap(), None);
        assert_eq!(seed::query_number(&db, "select count(*) from messages").await, 1);
    }
);

both_backends!(
    async fn a_key_reused_during_the_sweep_stays(db: TestDb) {
        if db.backend() == Backend::Sqlite {
            return;
        }
        let seeded = seed::workspace(&db, 1_000_000).await;
        let process = Process::start(&db).await;
        let conversation = process.conversation(&seeded, ConversationKind::Api).await;
        process.writer.execute(with_key(admission(&conversation, Api::Platform), "k", "body")).await.unwrap();
        let now = process.clock.now();
        process.advance_clock(&db, Duration::from_hours(25)).await;
        // As an admission does it whose batch is under way.
        let mut using = process.db.begin().await.unwrap();
        let Conn::Postgres(conn) = using.conn() else { unreachable!("it is PostgreSQL") };
        let again = now.plus(Duration::from_hours(25));
        sqlx::query("update idempotency set created_at = $1").bind(again).execute(conn).await.unwrap();

        let sweep = async |conn: Conn<'_>| idempotency::sweep(conn, 9, process.clock.as_ref()).await;
        let sweep = process.db.write(Tenant::Process, sweep);
        let used = async {
            let waits = "select count(*) from pg_stat_activity where wait_event_type = 'Lock' \
                and query like 'delete from idempotency%' and datname = current_database()";
            wait_for("the sweep to wait", async || (seed::query_number(&db, waits).await == 1).then_some(()))
                .await;
            using.commit().await.unwrap();
        };
        let (swept, ()) = tokio::join!(sweep, used);

        assert_eq!(swept.unwrap(), 0);
        assert_eq!(seed::query_number(&db, "select count(*) from idempotency").await, 1);
    }
);
