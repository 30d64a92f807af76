//! The steps of an erasure, which go on where earlier ones have ended.

use rejoinder::domain::clock::Clock as _;
use rejoinder::domain::conversation::ConversationKind;
use rejoinder::domain::erasure::{ErasureJob, ErasureTarget, FailingCalendars};
use rejoinder::domain::ids::ErasureId;
use rejoinder::store::Conn;
use rejoinder::store::erasures::content;
use uuid::Uuid;

use crate::support::db::both_backends;
use crate::support::seed;
use crate::support::writer_process::Process;

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
        let target = ErasureTarget::Conversation(conversation.id);
        let id = ErasureId(Uuid::nil());
        let (failing_calendars, created_at) = (FailingCalendars::new(), now);
        let job = ErasureJob { workspace, id, target, created_at, is_marked: true, failing_calendars };
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
