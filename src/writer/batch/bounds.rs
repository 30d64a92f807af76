//! Bounds and caps on the turns, and on the tokens, of a conversation, a workspace and a day.

use std::time::Duration;

use super::Batch;
use crate::domain::clock::Micros;
use crate::domain::conversation::{Conversation, ConversationKind};
use crate::domain::error::Error;
use crate::domain::failure::Failure;
use crate::domain::ids::{ConversationId, WorkspaceId};
use crate::domain::money::Money;
use crate::domain::token_budget::{ExhaustedBudget, TokenBudgets};
use crate::domain::turn::{Api, TurnRef};
use crate::domain::workspace::WorkspaceState;

const RETRY_AFTER: Duration = Duration::from_secs(1);
const DAY: Duration = Duration::from_hours(24);
const SWEEP_INTERVAL: Duration = Duration::from_mins(1);

/// Limits that admissions are checked against.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    pub max_open_per_conversation: i64,
    pub max_open: i64,
    pub messages_per_conversation: Option<i64>,
    pub spend_per_conversation: Option<i64>,
    pub spend_per_day: Option<i64>,
    pub test_turns_per_day: Option<i64>,
    pub untouched_conversations: Option<i64>,
    /// Those of the server. A workspace may have lower ones.
    pub token_budgets: TokenBudgets,
}

fn exceeds(limit: Option<i64>, count: i64) -> bool {
    limit.is_some_and(|limit| count > limit)
}

impl Batch<'_> {
    /// Refuses what the workspace admits no more, because the operator has suspended it.
    pub(in crate::writer) fn check_not_suspended(&self, workspace: WorkspaceId) -> Result<(), Error> {
        if self.is_suspended(workspace) {
            return Err(Error::Processing(Failure::WorkspaceSuspended));
        }
        Ok(())
    }

    /// Whether the operator has suspended the workspace.
    pub(in crate::writer) fn is_suspended(&self, workspace: WorkspaceId) -> bool {
        let row = self.tables.workspaces.get(&workspace);
        row.is_some_and(|row| row.config.settings.suspended_at.is_some())
    }

    /// Checks the number of messages in a conversation, whether its AI is on or off.
    pub(in crate::writer) fn check_message_count(&self, conversation: &Conversation) -> Result<(), Error> {
        if exceeds(self.context.bounds.messages_per_conversation, conversation.next_position) {
            return Err(Error::LimitReached { retry_after: DAY });
        }
        Ok(())
    }

    /// Checks the caps on the replies of the widget API, whose only credential is the conversation's UUID.
    pub(in crate::writer) fn check_spending(
        &mut self,
        conversation: &Conversation,
        has_api_key: bool,
    ) -> Result<(), Error> {
        let bounds = self.context.bounds;
        let price = self.price(conversation).0;
        if price > 0 && exceeds(bounds.spend_per_conversation, conversation.spent + price) {
            return Err(Error::LimitReached { retry_after: DAY });
        }
        let spent = self.daily_usage(conversation.workspace).map_or(0, |(_, spent)| spent.0);
        if price > 0 && exceeds(bounds.spend_per_day, spent + price) {
            return Err(Error::LimitReached { retry_after: self.until_tomorrow() });
        }
        self.check_test_turns(conversation, has_api_key)
    }

    /// Limits test turns by day, as they are free; requests with an API key are not limited.
    pub(in crate::writer) fn check_test_turns(
        &mut self,
        conversation: &Conversation,
        has_api_key: bool,
    ) -> Result<(), Error> {
        if conversation.kind != ConversationKind::Test || has_api_key {
            return Ok(());
        }
        let turns = self.daily_usage(conversation.workspace).map_or(0, |(turns, _)| turns);
        match self.context.bounds.test_turns_per_day {
            Some(limit) if turns >= limit => Err(Error::LimitReached { retry_after: self.until_tomorrow() }),
            Some(_) | None => Ok(()),
        }
    }

    /// The test turns and the charges of the current day.
    pub(in crate::writer) fn daily_usage(&mut self, workspace: WorkspaceId) -> Option<(i64, Money)> {
        // By the database clock: two processes must not alternate between two days at midnight.
        let day = self.context.now.day();
        let state = &mut self.tables.workspaces.get_mut(&workspace)?.state;
        if state.day != day {
            state.day = day;
            state.day_test_turns = 0;
            state.day_spent = Money::ZERO;
            state.day_tokens = 0;
        }
        Some((state.day_test_turns, state.day_spent))
    }

    /// Checks the token budgets, which apply to all replies, of both APIs.
    pub(in crate::writer) fn check_tokens(&self, conversation: &Conversation) -> Result<(), Error> {
        match self.exhausted_budget(conversation.workspace, conversation.id) {
            Some(ExhaustedBudget::Conversation) => Err(Error::LimitReached { retry_after: DAY }),
            Some(ExhaustedBudget::Day) => Err(Error::LimitReached { retry_after: self.until_tomorrow() }),
            None => Ok(()),
        }
    }

    /// The token budget that is used up, if one is. A conversation that is not stored has used none.
    pub(in crate::writer) fn exhausted_budget(
        &self,
        workspace: WorkspaceId,
        conversation: ConversationId,
    ) -> Option<ExhaustedBudget> {
        let row = self.tables.workspaces.get(&workspace)?;
        let budgets = self.context.bounds.token_budgets.lowest(row.config.settings.token_budgets);
        let conversation = self.tables.conversations.get(&conversation);
        let of_conversation = conversation.map_or(0, |conversation| conversation.tokens);
        budgets.exhausted_by(of_conversation, row.state.tokens_on(self.context.now.day()))
    }

    /// Counts the tokens of a turn's model calls.
    pub(in crate::writer) fn count_tokens(&mut self, turn: &TurnRef, tokens: i64) {
        if tokens == 0 {
            return;
        }
        if let Some(conversation) = self.tables.conversations.get_mut(&turn.conversation) {
            conversation.tokens = conversation.tokens.saturating_add(tokens);
            self.changes.touch_conversation(turn.conversation);
        }
        self.daily_usage(turn.workspace);
        if let Some(row) = self.tables.workspaces.get_mut(&turn.workspace) {
            row.state.day_tokens = row.state.day_tokens.saturating_add(tokens);
            self.changes.touch_workspace(turn.workspace);
        }
    }

    fn until_tomorrow(&self) -> Duration {
        let now = self.context.now;
        let tomorrow = Micros((now.day() + 1) * 86_400_000_000);
        tomorrow.since(now)
    }

    /// Limits the conversations that visitors create and do not use. Those that are too old are removed every minute.
    pub(in crate::writer) fn check_untouched(&self, workspace: &WorkspaceState) -> Result<(), Error> {
        if exceeds(self.context.bounds.untouched_conversations, workspace.untouched + 1) {
            return Err(Error::LimitReached { retry_after: SWEEP_INTERVAL });
        }
        Ok(())
    }

    /// Limits the open turns of a conversation and of its workspace.
    pub(in crate::writer) fn check_bounds(&self, conversation: &Conversation, api: Api) -> Result<(), Error> {
        if conversation.open_turns >= self.context.bounds.max_open_per_conversation {
            return Err(match api {
                Api::Widget => Error::Processing(Failure::ConversationBusy),
                Api::Platform => {
                    Error::Overloaded { text: "The conversation is busy", retry_after: RETRY_AFTER }
                }
            });
        }
        let open = self.tables.workspaces.get(&conversation.workspace).map_or(0, |row| row.state.open_turns);
        if open >= self.context.bounds.max_open {
            return Err(Error::Overloaded {
                text: "Too many replies are being made",
                retry_after: RETRY_AFTER,
            });
        }
        Ok(())
    }
}
