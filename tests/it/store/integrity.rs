//! The command that finds rows without the rows that they refer to.

use rejoinder::domain::conversation::ConversationKind;
use rejoinder::store::integrity::{Orphans, find_orphans};

use crate::support::db::both_backends;
use crate::support::seed;
use crate::support::writer_process::Process;

async fn orphans(process: &Process) -> Vec<Orphans> {
    find_orphans(process.db.acquire_read().await.unwrap().conn()).await.unwrap()
}

both_backends!(
    async fn rows_that_refer_to_nothing_are_found(db: TestDb) {
        let seeded = seed::workspace(&db, 1_000_000).await;
        let process = Process::start(&db).await;
        let conversation = process.conversation(&seeded, ConversationKind::Widget).await;
        let turn = process.ask(&conversation).await;
        process.complete(turn, 1).await;
        assert_eq!(orphans(&process).await, []);

        let id = seed::literal(&db, conversation.id.0);
        seed::execute(&db, &format!("delete from conversations where id = {id}")).await;

        let of = |table, count| Orphans { table, parent: "conversations", count };
        assert_eq!(orphans(&process).await, [of("widget_links", 1), of("messages", 2), of("turns", 1)]);
    }
);
