//! Token budgets: what counts, and when a conversation and a workspace may use models again.

use std::time::Duration;

use rejoinder::domain::conversation::{Conversation, ConversationKind};
use rejoinder::domain::error::Error;
use rejoinder::domain::failure::Failure;
use rejoinder::domain::token_budget::TokenBudgets;
use rejoinder::domain::turn::{Api, TurnEnd, TurnRef};
use rejoinder::writer::{
    AdmitOutcome, Bounds, CountTokens, EndAuthority, EndTurn, HandBackTurn, RetryTurn, TurnWriteOutcome,
};

use crate::support::db::{TestDb, both_backends};
use crate::support::seed::{self, assert_invariants};
use crate::support::store;
use crate::support::writer_process::{BOUNDS, Process, admission, completed, end_turn, journal_answer};

const DAY: Duration = Duration::from_hours(24);

async fn start(db: &TestDb, per_conversation: Option<i64>, per_day: Option<i64>) -> Process {
    let bounds = Bounds { token_budgets: TokenBudgets { per_conversation, per_day }, ..BOUNDS };
    Process::start_with(db, store::open(db).await, bounds, 100).await
}

/// Ends a turn whose last model call used these tokens.
async fn end(process: &Process, turn: TurnRef, authority: EndAuthority, end: TurnEnd, tokens: i64) -> bool {
    let command = EndTurn { tokens, ..end_turn(turn, authority, end) };
    let ended = process.writer.execute(command).await.unwrap();
    matches!(ended, TurnWriteOutcome::Accepted(_))
}

/// The time after which a message that is refused may be sent again.
async fn refusal(process: &Process, conversation: &Conversation, api: Api) -> Duration {
    match process.writer.execute(admission(conversation, api)).await {
        Err(Error::LimitReached { retry_after }) => retry_after,
        other => panic!("{other:?}"),
    }
}

/// The tokens of all conversations, and of all workspaces on their day.
async fn tokens(db: &TestDb) -> (i64, i64) {
    let of_conversations = "select cast(sum(tokens) as bigint) from conversations";
    let of_day = "select cast(sum(day_tokens) as bigint) from workspace_state";
    (seed::query_number(db, of_conversations).await, seed::query_number(db, of_day).await)
}

both_backends!(
    async fn a_used_up_budget_refuses_messages_and_that_of_a_day_is_new_on_the_next(db: TestDb) {
        let seeded = seed::workspace(&db, 1_000_000).await;
        let process = start(&db, Some(100), Some(150)).await;
        let first = process.conversation(&seeded, ConversationKind::Widget).await;
        let second = process.conversation(&seeded, ConversationKind::Widget).await;
        let anyone = EndAuthority::ClientGone;

        let turn = process.ask(&first).await;
        assert!(end(&process, turn, anyone, TurnEnd::Failed(Failure::ModelUnreadable), 60).await);
        let turn = process.ask(&first).await;
        assert!(end(&process, turn, anyone, completed("Yes"), 60).await);

        let before = seed::contents(&db).await;
        for api in [Api::Widget, Api::Platform] {
            assert_eq!(refusal(&process, &first, api).await, DAY);
        }
        assert_eq!(seed::contents(&db).await, before, "nothing is stored or charged");
        let mut unanswered = admission(&first, Api::Platform);
        unanswered.auto_reply = Some(false);
        let stored = process.writer.execute(unanswered).await.unwrap();
        assert!(matches!(stored, AdmitOutcome::Answered { turn: None, .. }), "no model is needed");

        let turn = process.ask(&second).await;
        assert!(end(&process, turn, anyone, completed("Yes"), 40).await);
        for api in [Api::Widget, Api::Platform] {
            assert_eq!(refusal(&process, &second, api).await, Duration::from_hours(14), "until midnight");
        }
        assert_eq!(tokens(&db).await, (160, 160));

        process.advance_clock(&db, DAY).await;
        let turn = process.ask(&second).await;
        assert!(end(&process, turn, anyone, completed("Yes"), 7).await);
        assert_eq!(refusal(&process, &first, Api::Widget).await, DAY, "a conversation has one for its life");
        assert_eq!(tokens(&db).await, (167, 7));
        assert_invariants(&db).await;
    }
);

both_backends!(
    async fn the_calls_of_an_answer_that_uses_up_the_budget_do_not_start(db: TestDb) {
        let seeded = seed::workspace(&db, 1_000_000).await;
        let process = start(&db, Some(100), None).await;
        let conversation = process.conversation(&seeded, ConversationKind::Widget).await;
        let turn = process.ask(&conversation).await;

        let first = process.writer.execute(journal_answer(turn, 1, 0, 70)).await.unwrap();
        let second = process.writer.execute(journal_answer(turn, 1, 1, 70)).await.unwrap();

        assert_eq!((first.is_over_budget, second.is_over_budget), (false, true));
        let rows = |position| format!("select count(*) from journal where position = {position}");
        assert_eq!(seed::query_number(&db, &rows(0)).await, 2);
        assert_eq!(seed::query_number(&db, &rows(1)).await, 1);
        assert_eq!(tokens(&db).await, (140, 140));
    }
);

both_backends!(
    async fn the_tokens_of_an_owner_that_was_fenced_off_count_too(db: TestDb) {
        let seeded = seed::workspace(&db, 1_000_000).await;
        let process = start(&db, None, None).await;
        let conversation = process.conversation(&seeded, ConversationKind::Widget).await;
        let turn = process.ask(&conversation).await;
        let (delay, model_error) = (Duration::ZERO, None);
        process
            .writer
            .execute(RetryTurn { turn, fence: 1, delay, model_error: model_error.clone(), tokens: 5 })
            .await
            .unwrap();
        process.writer.execute(journal_answer(turn, 2, 0, 70)).await.unwrap();
        process.writer.execute(HandBackTurn { turn, fence: 2, delay, is_takeover: true }).await.unwrap();

        // The earlier owner has been fenced off. Its calls cost as much as any.
        let late = process.writer.execute(journal_answer(turn, 2, 1, 100)).await.unwrap();
        assert!(matches!(late.turn, TurnWriteOutcome::FencedOff(_)));
        let retry = RetryTurn { turn, fence: 2, delay, model_error, tokens: 200 };
        assert!(matches!(process.writer.execute(retry).await.unwrap(), TurnWriteOutcome::FencedOff(_)));
        let owner = EndAuthority::Owner { fence: 2 };
        assert!(!end(&process, turn, owner, completed("Yes"), 400).await);
        assert!(end(&process, turn, EndAuthority::ClientGone, completed("Yes"), 30).await);
        assert!(!end(&process, turn, EndAuthority::ClientGone, completed("Yes"), 0).await);
        // A call of the earlier owner was broken off.
        process.writer.execute(CountTokens { turn, tokens: 8 }).await.unwrap();

        let steps = "select count(*) from journal where position = 0";
        assert_eq!(seed::query_number(&db, steps).await, 1, "its answers are not stored");
        assert_eq!(tokens(&db).await, (813, 813));
        assert_invariants(&db).await;
    }
);

both_backends!(
    async fn a_workspace_may_have_a_lower_budget_than_the_server(db: TestDb) {
        let seeded = seed::workspace(&db, 1_000_000).await;
        let budgets = "update workspaces set tokens_per_conversation = 10, tokens_per_day = 1000";
        seed::configure(&db, budgets).await;
        let process = start(&db, Some(1_000), Some(100)).await;
        let [first, second] = [
            process.conversation(&seeded, ConversationKind::Widget).await,
            process.conversation(&seeded, ConversationKind::Api).await,
        ];
        let anyone = EndAuthority::ClientGone;

        let turn = process.ask(&first).await;
        assert!(end(&process, turn, anyone, completed("Yes"), 10).await);
        assert_eq!(refusal(&process, &first, Api::Widget).await, DAY);
        let turn = process.ask(&second).await;
        assert!(end(&process, turn, anyone, completed("Yes"), 90).await);
        let third = process.conversation(&seeded, ConversationKind::Widget).await;
        assert_eq!(refusal(&process, &third, Api::Platform).await, Duration::from_hours(14));
    }
);
