//! Admission: a message is stored, charged and gets a turn, or it is refused and nothing is stored.

use std::time::Duration;

use futures::future::join_all;
use rejoinder::domain::conversation::ConversationKind;
use rejoinder::domain::error::Error;
use rejoinder::domain::failure::Failure;
use rejoinder::domain::turn::{Api, TurnEnd, TurnState};
use rejoinder::writer::{AdmitOutcome, Effect, EndAuthority, TurnWriteOutcome};

use crate::support::db::both_backends;
use crate::support::seed::{self, assert_invariants};
use crate::support::store;
use crate::support::writer_process::{
    BOUNDS, Process, admission, ai, balance, completed, end_conversation, end_turn, new_conversation,
    turn_ref,
};

both_backends!(
    async fn a_message_is_stored_charged_and_started(db: TestDb) {
        let seeded = seed::workspace(&db, 1_000_000).await;
        let mut process = Process::start(&db).await;
        let conversation = process.conversation(&seeded, ConversationKind::Widget).await;

        let turn = process.ask(&conversation).await;

        let stored = process.turn(turn).await;
        assert_eq!((stored.state, stored.owner, stored.fence), (TurnState::Running, Some(process.id), 1));
        assert_eq!(balance(&process.db, seeded.workspace).await, 990_000);
        assert!(
            matches!(&process.effects(1).await[..], [Effect::Started(started, Some(_))] if started.turn == stored)
        );
        assert_eq!(
            process.slots.in_use(Api::Widget) + process.slots.in_use(Api::Platform),
            0,
            "the effect held the slot"
        );
        assert_invariants(&db).await;
    }
);

both_backends!(
    async fn turns_of_a_conversation_run_one_at_a_time_in_order(db: TestDb) {
        let seeded = seed::workspace(&db, 1_000_000).await;
        let process = Process::start(&db).await;
        let conversation = process.conversation(&seeded, ConversationKind::Widget).await;
        let turns = [
            process.ask(&conversation).await,
            process.ask(&conversation).await,
            process.ask(&conversation).await,
        ];

        for (index, turn) in turns.into_iter().enumerate() {
            for later in &turns[index + 1..] {
                assert_eq!(process.turn(*later).await.state, TurnState::Waiting);
            }
            assert_eq!(process.turn(turn).await.state, TurnState::Running);
            assert!(matches!(process.complete(turn, 1).await, TurnWriteOutcome::Accepted(_)));
            assert_invariants(&db).await;
        }
    }
);

both_backends!(
    async fn ending_a_turn_starts_the_next_one(db: TestDb) {
        let seeded = seed::workspace(&db, 1_000_000).await;
        let process = Process::start(&db).await;
        let conversation = process.conversation(&seeded, ConversationKind::Widget).await;
        let [first, second, third] = [
            process.ask(&conversation).await,
            process.ask(&conversation).await,
            process.ask(&conversation).await,
        ];
        process.complete(first, 1).await;

        let again = process.writer.execute(end_turn(
            first,
            EndAuthority::ClientGone,
            TurnEnd::Failed(Failure::TooOld),
        ));
        let (again, done) = tokio::join!(again, process.complete(second, 1));

        assert!(matches!(
            (again.unwrap(), done),
            (TurnWriteOutcome::FencedOff(Some(_)), TurnWriteOutcome::Accepted(_))
        ));
        assert_eq!(process.turn(third).await.state, TurnState::Running);
        assert_invariants(&db).await;
    }
);

both_backends!(
    async fn without_a_free_slot_or_a_lease_a_turn_is_queued(db: TestDb) {
        let seeded = seed::workspace(&db, 1_000_000).await;
        let mut process = Process::start_with(&db, store::open(&db).await, BOUNDS, 1).await;
        let conversations = [
            process.conversation(&seeded, ConversationKind::Widget).await,
            process.conversation(&seeded, ConversationKind::Widget).await,
        ];
        let first = process.ask(&conversations[0]).await;
        let first_effects = process.effects(1).await;

        let second = process.ask(&conversations[1]).await;

        assert_eq!(process.turn(first).await.state, TurnState::Running);
        assert_eq!(process.turn(second).await.state, TurnState::Queued);
        drop(first_effects);
        process.lease.mark_lost();
        process.complete(first, 1).await;
        let third = process.ask(&conversations[0]).await;
        assert_eq!(process.turn(third).await.state, TurnState::Queued);
        assert_invariants(&db).await;
    }
);

both_backends!(
    async fn a_balance_for_ten_turns_pays_for_ten_turns(db: TestDb) {
        let seeded = seed::workspace(&db, 100_000).await;
        let process = Process::start(&db).await;
        let conversations =
            join_all((0..8).map(|_| process.conversation(&seeded, ConversationKind::Widget))).await;

        let admissions =
            (0..64).map(|n| process.writer.execute(admission(&conversations[n % 8], Api::Widget)));
        let outcomes = join_all(admissions).await;

        assert_eq!(outcomes.iter().filter(|outcome| outcome.is_ok()).count(), 10);
        assert!(outcomes.iter().all(|outcome| matches!(outcome, Ok(_) | Err(Error::InsufficientBalance))));
        assert_eq!(balance(&process.db, seeded.workspace).await, 0);
        assert_eq!(
            seed::query_number(&db, "select count(*) from events where type = 'balance.low'").await,
            1
        );
        assert_invariants(&db).await;
    }
);

both_backends!(
    async fn a_refusal_stores_nothing(db: TestDb) {
        let seeded = seed::workspace(&db, 10_000).await;
        let other = seed::workspace(&db, 10_000).await;
        let bounds = rejoinder::writer::Bounds { max_open_per_conversation: 1, ..BOUNDS };
        let process = Process::start_with(&db, store::open(&db).await, bounds, 10).await;
        let conversation = process.conversation(&seeded, ConversationKind::Widget).await;
        let test = process.conversation(&seeded, ConversationKind::Test).await;
        process.ask(&conversation).await;
        process.ask(&test).await;
        let before = seed::contents(&db).await;

        let mut stranger = admission(&conversation, Api::Platform);
        stranger.workspace = other.workspace;
        let mut reply = admission(&test, Api::Platform);
        reply.reply_to = Some(reply.message);
        let poor = new_conversation(&seeded, ConversationKind::Widget);
        let poor = rejoinder::writer::NewConversation { check_balance: true, ..poor };
        assert!(matches!(
            process.writer.execute(admission(&conversation, Api::Widget)).await,
            Err(Error::InsufficientBalance)
        ));
        assert!(matches!(
            process.writer.execute(admission(&test, Api::Widget)).await,
            Err(Error::Processing(Failure::ConversationBusy))
        ));
        assert!(matches!(
            process.writer.execute(admission(&test, Api::Platform)).await,
            Err(Error::Overloaded { .. })
        ));
        assert!(matches!(process.writer.execute(stranger).await, Err(Error::NotFound { .. })));
        assert!(matches!(process.writer.execute(reply).await, Err(Error::NotFound { .. })));
        assert!(matches!(process.writer.execute(poor).await, Err(Error::InsufficientBalance)));

        assert_eq!(seed::contents(&db).await, before);
    }
);

both_backends!(
    async fn a_human_takeover_discards_all_open_turns(db: TestDb) {
        let seeded = seed::workspace(&db, 1_000_000).await;
        let mut process = Process::start(&db).await;
        for change in [ai(false), end_conversation()] {
            let conversation = process.conversation(&seeded, ConversationKind::Widget).await;
            let turns = [process.ask(&conversation).await, process.ask(&conversation).await];
            process.effects(1).await;

            process.change(&conversation, change).await.unwrap();

            for turn in turns {
                assert_eq!(process.turn(turn).await.state, TurnState::Discarded);
            }
            let effects = process.effects(3).await;
            assert!(
                effects
                    .iter()
                    .any(|effect| matches!(effect, Effect::Cancelled(turn) if *turn == turns[0].turn))
            );
            assert_eq!(effects.iter().filter(|effect| matches!(effect, Effect::Ended(..))).count(), 2);
            assert!(matches!(process.complete(turns[0], 1).await, TurnWriteOutcome::FencedOff(Some(_))));
        }
        assert_eq!(balance(&process.db, seeded.workspace).await, 1_000_000);
        assert_invariants(&db).await;
    }
);

both_backends!(
    async fn a_large_batch_fits_into_the_bind_limits(db: TestDb) {
        let seeded = seed::workspace(&db, 1_000_000_000).await;
        let process = Process::start(&db).await;
        let conversations =
            join_all((0..64).map(|_| process.conversation(&seeded, ConversationKind::Widget))).await;
        for _ in 0..40 {
            let outcomes = join_all(
                conversations
                    .iter()
                    .map(|conversation| process.writer.execute(admission(conversation, Api::Widget))),
            )
            .await;
            assert!(outcomes.iter().all(Result::is_ok));
        }

        // Ends 2,560 turns at once, with more values than SQLite binds in one statement.
        let ended = join_all(
            conversations.iter().map(|conversation| process.change(conversation, end_conversation())),
        )
        .await;

        assert!(ended.iter().all(Result::is_ok), "{ended:?}");
        assert_eq!(seed::query_number(&db, "select count(*) from turns where state <> 'discarded'").await, 0);
        assert_invariants(&db).await;
    }
);

both_backends!(
    async fn daily_counts_reset_on_the_next_day(db: TestDb) {
        let seeded = seed::workspace(&db, 1_000_000).await;
        let bounds =
            rejoinder::writer::Bounds { spend_per_day: Some(20_000), test_turns_per_day: Some(1), ..BOUNDS };
        let process = Process::start_with(&db, store::open(&db).await, bounds, 10).await;
        let widget = process.conversation(&seeded, ConversationKind::Widget).await;
        let test = process.conversation(&seeded, ConversationKind::Test).await;
        for _ in 0..2 {
            process.ask(&widget).await;
            process.ask(&test).await;
            let platform = process.conversation(&seeded, ConversationKind::Api).await;
            process.writer.execute(admission(&platform, Api::Platform)).await.unwrap();
            for conversation in [&widget, &test] {
                let refused = process.writer.execute(admission(conversation, Api::Widget)).await;
                assert!(matches!(refused, Err(Error::LimitReached { .. })), "{refused:?}");
            }
            process.advance_clock(&db, Duration::from_hours(24)).await;
        }
        // The charge of the platform API is the first of the new day.
        let platform = process.conversation(&seeded, ConversationKind::Api).await;
        process.writer.execute(admission(&platform, Api::Platform)).await.unwrap();
        assert_eq!(seed::query_number(&db, "select day_spent from workspace_state").await, 10_000);
        assert_invariants(&db).await;
    }
);

both_backends!(
    async fn the_ledger_always_sums_up_to_the_balance(db: TestDb) {
        let seeded = seed::workspace(&db, 1_000_000).await;
        let process = Process::start(&db).await;
        let conversations =
            join_all((0..6).map(|_| process.conversation(&seeded, ConversationKind::Widget))).await;
        let load = join_all(conversations.iter().map(async |conversation| {
            for round in 0..10 {
                let turn = process.ask(conversation).await;
                let end = if round % 2 == 0 {
                    completed("Yes")
                } else {
                    TurnEnd::Failed(Failure::ModelUnavailable)
                };
                process.writer.execute(end_turn(turn, EndAuthority::ClientGone, end)).await.unwrap();
            }
        }));
        let watch = async {
            loop {
                let off = "select count(*) from workspace_state s where balance <> (select sum(amount) from ledger l where l.workspace_id = s.workspace_id)";
                assert_eq!(seed::query_number(&db, off).await, 0);
                tokio::task::yield_now().await;
            }
        };

        tokio::select! { _ = load => {}, () = watch => {} }

        assert_eq!(balance(&process.db, seeded.workspace).await, 1_000_000 - 6 * 5 * 10_000);
        assert_invariants(&db).await;
    }
);

both_backends!(
    async fn disabling_the_ai_discards_its_open_replies(db: TestDb) {
        let seeded = seed::workspace(&db, 1_000_000).await;
        seed::configure(&db, "update assistants set pause_on_agent_message = true").await;
        let process = Process::start(&db).await;
        let conversation = process.conversation(&seeded, ConversationKind::Widget).await;
        let turn = process.ask(&conversation).await;
        let mut agent = admission(&conversation, Api::Platform);
        agent.sender_type = rejoinder::domain::conversation::SenderType::Agent;
        agent.auto_reply = Some(false);

        let admitted = process.writer.execute(agent).await.unwrap();

        let AdmitOutcome::Answered { answer, turn: None } = admitted else { panic!("{admitted:?}") };
        assert_eq!(answer.reason.as_deref(), Some("auto_reply_off"));
        assert_eq!(process.turn(turn).await.state, TurnState::Discarded);
        assert_eq!(
            process.turn(turn_ref(&conversation, turn.turn)).await.reason.as_deref(),
            Some("ai_disabled")
        );
        assert_invariants(&db).await;
    }
);
