//! The steps of an erasure, which go on where earlier ones have ended.

use std::collections::BTreeSet;

use rejoinder::domain::clock::{Clock as _, Micros};
use rejoinder::domain::conversation::{Conversation, ConversationKind};
use rejoinder::domain::erasure::{ErasureJob, ErasureTarget, FailingCalendars, Person};
use rejoinder::domain::ids::{ConversationId, ErasureId, TurnId};
use rejoinder::store::erasures::{content, targets};
use rejoinder::store::{Conn, conversations, retention};
use uuid::Uuid;

use crate::support::db::{Backend, both_backends};
use crate::support::seed;
use crate::support::wait::wait_for;
use crate::support::writer_process::{Process, journal_answer};

/// An erasure of a conversation, which is marked as deleted.
fn job_of(conversation: &Conversation, created_at: Micros) -> ErasureJob {
    ErasureJob {
        workspace: conversation.workspace,
        id: ErasureId(Uuid::nil()),
        target: ErasureTarget::Conversation(conversation.id),
        created_at,
        is_marked: true,
        failing_calendars: FailingCalendars::new(),
    }
}

both_backends!(
    async fn events_without_data_are_passed_over(db: TestDb) {
        let seeded = seed::workspace(&db, 1_000_000).await;
        let process = Process::start(&db).await;
        let conversation = process.conversation(&seeded, ConversationKind::Widget).await;
        let turn = process.ask(&conversation).await;
        process.complete(turn, 1).await;
        let con = seed::literal(&db, conversation.id.0);
        let count = format!("select count(*) from events where conversation_id = {con}");
        let events = seed::query_number(&db, &count).await;
        let (workspace, now) = (seeded.workspace, process.clock.now());
        let job = job_of(&conversation, now);
        let mut redacted = Vec::new();

        // Each begins anew, as after its process has died.
        loop {
            let redact =
                async |conn: Conn<'_>| content::redact_events(conn, &job, conversation.id, 0, 1, now).await;
            match process.db.write(workspace, redact).await.unwrap() {
                Some(cursor) => redacted.push(cursor),
                None => break,
            }
        }

        assert!(events > 1);
        assert_eq!(i64::try_from(redacted.len()).unwrap(), events);
        assert!(redacted.is_sorted_by(|one, next| one < next), "{redacted:?}");
        let with_data = format!("{count} and body like '%data%'");
        assert_eq!(seed::query_number(&db, &with_data).await, 0);
    }
);

both_backends!(
    async fn all_deletions_since_a_time_are_listed(db: TestDb) {
        let seeded = seed::workspace(&db, 0).await;
        let process = Process::start(&db).await;
        let mut created = BTreeSet::new();
        for _ in 0..5 {
            created.insert(process.conversation(&seeded, ConversationKind::Widget).await.id);
        }
        // Some at the same time.
        seed::execute(&db, "update conversations set deleted_at = 7 + (next_position % 2)").await;
        process.conversation(&seeded, ConversationKind::Widget).await;
        let mut listed = Vec::new();
        let mut after = (Micros(6), ConversationId(Uuid::nil()));

        loop {
            let list = async |conn: Conn<'_>| conversations::list_deleted(conn, after, 2).await;
            let page = process.db.read(seeded.workspace, list).await.unwrap();
            let Some(newest) = page.last() else { break };
            after = *newest;
            listed.extend(page.into_iter().map(|(_, id)| id));
        }

        assert_eq!(listed.len(), 5);
        assert_eq!(listed.into_iter().collect::<BTreeSet<_>>(), created);
    }
);

both_backends!(
    async fn each_conversation_of_a_person_is_looked_at_once(db: TestDb) {
        let seeded = seed::workspace(&db, 0).await;
        let process = Process::start(&db).await;
        let mut created = BTreeSet::new();
        for _ in 0..5 {
            created.insert(process.conversation(&seeded, ConversationKind::Widget).await.id);
        }
        let created: Vec<_> = created.into_iter().collect();
        seed::execute(&db, "update conversations set external_identifier = 'ada', identity = 'ada'").await;
        process.conversation(&seeded, ConversationKind::Widget).await;
        let now = process.clock.now();
        let (deleted, newer) = (seed::literal(&db, created[1].0), seed::literal(&db, created[3].0));
        seed::execute(
            &db,
            &format!("update conversations set deleted_at = 7, erased_at = 7 where id = {deleted}"),
        )
        .await;
        let later = format!("update conversations set created_at = {} where id = {newer}", now.0 + 1);
        seed::execute(&db, &later).await;

        for person in [Person::ExternalIdentifier("ada".to_owned()), Person::Identity("ada".to_owned())] {
            let (mut listed, mut after) = (Vec::new(), None);
            loop {
                let list = async |conn: Conn<'_>| {
                    targets::list_by_person(conn, seeded.workspace, &person, (after, now), 2).await
                };
                let page = process.db.read(seeded.workspace, list).await.unwrap();
                let Some(newest) = page.last() else { break };
                after = Some(newest.id);
                listed.extend(page.into_iter().map(|conversation| (conversation.id, conversation.is_target)));
            }

            let expected: Vec<_> = created.iter().copied().zip([true, false, true, false, true]).collect();
            assert_eq!(listed, expected, "{person:?}");
        }
    }
);

both_backends!(
    async fn a_retention_writes_nothing_back_that_an_erasure_removes_meanwhile(db: TestDb) {
        let seeded = seed::workspace(&db, 1_000_000).await;
        let process = Process::start(&db).await;
        let conversation = process.conversation(&seeded, ConversationKind::Widget).await;
        let turn = process.ask(&conversation).await;
        process.writer.execute(journal_answer(turn, 1, 1, 0)).await.unwrap();
        process.complete(turn, 1).await;
        let with_calls = "select count(*) from events where body like '%\"function_calls\":%'";
        assert_eq!(seed::query_number(&db, with_calls).await, 1);
        let (workspace, now) = (seeded.workspace, process.clock.now());
        let job = job_of(&conversation, now);
        let retain = async |conn: Conn<'_>| {
            retention::remove_journals(conn, workspace, TurnId(Uuid::max()), 100).await
        };

        // The retention reads the event before the erasure is committed, and writes after that.
        let mut erasing = process.db.begin().await.unwrap();
        content::redact_events(erasing.conn(), &job, conversation.id, 0, 100, now).await.unwrap();
        let erased = async {
            let waits = "select count(*) from pg_stat_activity where wait_event_type = 'Lock' \
                and query like '%update events%' and datname = current_database()";
            // On SQLite it waits for the only connection that writes.
            let is_waiting = async || {
                let waits = db.backend() == Backend::Sqlite || seed::query_number(&db, waits).await == 1;
                waits.then_some(())
            };
            wait_for("the retention to wait", is_waiting).await;
            erasing.commit().await.unwrap();
        };
        let (retained, ()) = tokio::join!(process.db.write(workspace, retain), erased);

        assert!(retained.unwrap() > 0);
        let with_data =
            "select count(*) from events where conversation_id is not null and body like '%\"data\":%'";
        assert_eq!(seed::query_number(&db, with_data).await, 0);
    }
);
