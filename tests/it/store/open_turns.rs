//! The open turns as the metrics count them.

use std::time::Duration;

use rejoinder::domain::conversation::ConversationKind;
use rejoinder::domain::turn::TurnState;
use rejoinder::store::turns::open::{self, MAX_COUNTED, OpenTurns};

use crate::support::db::both_backends;
use crate::support::seed;
use crate::support::writer_process::Process;

async fn count(process: &Process, limit: i64) -> Vec<OpenTurns> {
    let mut read = process.db.acquire_read().await.unwrap();
    let mut counted = open::count(read.conn(), limit, process.clock.as_ref()).await.unwrap();
    counted.sort_by_key(|open| open.state.as_str());
    counted
}

both_backends!(
    async fn open_turns_are_counted_by_state_with_the_age_of_the_oldest(db: TestDb) {
        let seeded = seed::workspace(&db, 1_000_000).await;
        let process = Process::start(&db).await;
        assert_eq!(count(&process, MAX_COUNTED).await, Vec::new());
        let first = process.conversation(&seeded, ConversationKind::Widget).await;
        let second = process.conversation(&seeded, ConversationKind::Widget).await;
        let ended = process.ask(&second).await;
        process.complete(ended, 1).await;
        process.ask(&first).await;
        process.advance_clock(&db, Duration::from_secs(5)).await;
        process.ask(&first).await;
        process.ask(&first).await;
        process.advance_clock(&db, Duration::from_secs(2)).await;

        let open =
            |state, count, seconds| OpenTurns { state, count, oldest_age: Duration::from_secs(seconds) };
        assert_eq!(
            count(&process, MAX_COUNTED).await,
            [open(TurnState::Running, 1, 7), open(TurnState::Waiting, 2, 2)]
        );
        assert_eq!(
            count(&process, 2).await,
            [open(TurnState::Running, 1, 7), open(TurnState::Waiting, 1, 2)],
            "the oldest two"
        );
    }
);
