//! A turn whose reply is streamed runs in the process of its stream, and elsewhere only if that does not claim it in time.

use std::time::Duration;

use rejoinder::domain::conversation::ConversationKind;
use rejoinder::domain::ids::ProcessId;
use rejoinder::domain::turn::{Api, Turn, TurnRef, TurnState};
use rejoinder::store::turns::claims::ClaimRequest;
use rejoinder::store::{ownership, turns};
use rejoinder::writer::{Admission, AdmitOutcome, HandBackTurn, TurnWriteOutcome};
use uuid::Uuid;

use crate::support::db::{TestDb, both_backends};
use crate::support::seed::{self, Seed, assert_invariants};
use crate::support::store;
use crate::support::writer_process::{BOUNDS, Process, admission, turn_ref};

/// Admits a message whose reply the process streams, in a new conversation.
async fn stream(process: &Process, seeded: &Seed) -> TurnRef {
    let conversation = process.conversation(seeded, ConversationKind::Widget).await;
    let admission = Admission { runs_here: true, ..admission(&conversation, Api::Widget) };
    let turn = turn_ref(&conversation, admission.turn);
    assert_eq!(process.writer.execute(admission).await.unwrap(), AdmitOutcome::Waiting(turn.turn));
    turn
}

/// Claims at most so many turns of the workspace for a process, by the clock of another.
async fn claim(clock_of: &Process, seeded: &Seed, process: ProcessId, count: usize) -> Vec<Turn> {
    let request = ClaimRequest { workspace: seeded.workspace, count };
    let mut tx = clock_of.db.begin().await.unwrap();
    let clock = clock_of.clock.as_ref();
    let claimed = turns::claims::claim(tx.conn(), process, Api::Widget, &[request], 20, clock).await.unwrap();
    tx.commit().await.unwrap();
    claimed
}

/// Lets another process stream the reply of a turn.
async fn stream_elsewhere(db: &TestDb, turn: TurnRef, process: ProcessId) {
    let (process, id) = (seed::literal(db, process.0), seed::literal(db, turn.turn.0));
    seed::execute(db, &format!("update turns set stream_process = {process} where id = {id}")).await;
}

both_backends!(
    async fn another_process_claims_a_streamed_turn_only_after_two_seconds(db: TestDb) {
        let seeded = seed::workspace(&db, 1_000_000).await;
        // Without slots, so that turns are queued.
        let process = Process::start_with(&db, store::open(&db).await, BOUNDS, 0).await;
        let other = ProcessId(Uuid::new_v4());
        stream(&process, &seeded).await;
        stream(&process, &seeded).await;

        assert!(claim(&process, &seeded, other, 9).await.is_empty());
        assert_eq!(claim(&process, &seeded, process.id, 1).await.len(), 1);
        process.advance_clock(&db, Duration::from_millis(1999)).await;
        assert!(claim(&process, &seeded, other, 9).await.is_empty());
        process.advance_clock(&db, Duration::from_millis(1)).await;

        let claimed = claim(&process, &seeded, other, 9).await;
        assert_eq!((claimed.len(), claimed[0].owner), (1, Some(other)));
    }
);

both_backends!(
    async fn an_end_queues_the_next_turn_if_another_process_streams_its_reply(db: TestDb) {
        let seeded = seed::workspace(&db, 1_000_000).await;
        let process = Process::start(&db).await;
        let other = ProcessId(Uuid::new_v4());
        let conversation = process.conversation(&seeded, ConversationKind::Widget).await;
        let mut turns = vec![process.ask(&conversation).await];
        for _ in 0..2 {
            let admission = Admission { runs_here: true, ..admission(&conversation, Api::Widget) };
            turns.push(turn_ref(&conversation, admission.turn));
            process.writer.execute(admission).await.unwrap();
        }
        stream_elsewhere(&db, turns[2], other).await;

        assert!(matches!(process.complete(turns[0], 1).await, TurnWriteOutcome::Accepted(_)));
        let own = process.turn(turns[1]).await;
        assert!(matches!(process.complete(turns[1], own.fence).await, TurnWriteOutcome::Accepted(_)));
        let of_other = process.turn(turns[2]).await;

        assert_eq!((own.state, own.owner), (TurnState::Running, Some(process.id)));
        assert_eq!((of_other.state, of_other.owner), (TurnState::Queued, None));
        assert!(claim(&process, &seeded, process.id, 9).await.is_empty());
        assert_eq!(claim(&process, &seeded, other, 9).await.len(), 1);
        assert_invariants(&db).await;
    }
);

both_backends!(
    async fn a_streamed_turn_of_a_process_that_stops_or_dies_is_claimed_at_once(db: TestDb) {
        let seeded = seed::workspace(&db, 1_000_000).await;
        let process = Process::start(&db).await;
        let other = ProcessId(Uuid::new_v4());
        let hand_back = async |turn, is_takeover| {
            let hand_back = HandBackTurn { turn, fence: 1, delay: Duration::ZERO, is_takeover };
            let handed_back = process.writer.execute(hand_back).await.unwrap();
            assert!(matches!(handed_back, TurnWriteOutcome::Accepted(_)), "{handed_back:?}");
        };

        // Its task is lost, and its stream goes on.
        hand_back(stream(&process, &seeded).await, true).await;
        assert!(claim(&process, &seeded, other, 9).await.is_empty());
        assert_eq!(claim(&process, &seeded, process.id, 9).await.len(), 1);
        // The process stops.
        hand_back(stream(&process, &seeded).await, false).await;
        assert_eq!(claim(&process, &seeded, other, 9).await.len(), 1);
        // The process is dead: it has no lease.
        stream(&process, &seeded).await;
        let mut tx = process.db.begin().await.unwrap();
        let clock = process.clock.as_ref();
        let taken = ownership::take_over::<TurnRef>(tx.conn(), other, None, 100, clock).await.unwrap();
        tx.commit().await.unwrap();
        // The one that it still ran, too.
        assert_eq!(taken, 2);
        assert_eq!(claim(&process, &seeded, other, 9).await.len(), 2);
    }
);
