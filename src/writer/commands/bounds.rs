//! Bounds and caps: how much of a conversation, a workspace and a day a message may take.

use std::time::Duration;

use super::{Admission, Batch};
use crate::domain::clock::Micros;
use crate::domain::conversation::{Conversation, ConversationKind};
use crate::domain::error::Error;
use crate::domain::failure::Failure;
use crate::domain::ids::WorkspaceId;
use crate::domain::money::Money;
use crate::domain::turn::Api;

const RETRY_AFTER: Duration = Duration::from_secs(1);
const DAY: Duration = Duration::from_hours(24);

impl Batch<'_> {
    /// The caps of an API whose only credential is the conversation's UUID.
    pub(super) fn check_caps(
        &mut self,
        admission: &Admission,
        conversation: &Conversation,
    ) -> Result<(), Error> {
        let bounds = self.context.bounds;
        let exceeds = |limit: Option<i64>, count: i64| limit.is_some_and(|limit| count > limit);
        if exceeds(bounds.messages_per_conversation, conversation.next_position) {
            return Err(Error::LimitReached { retry_after: DAY });
        }
        let price = self.price(conversation).0;
        if price > 0 && exceeds(bounds.spend_per_conversation, conversation.spent + price) {
            return Err(Error::LimitReached { retry_after: DAY });
        }
        let spent = self.daily_usage(admission.workspace).map_or(0, |(_, spent)| spent.0);
        if price > 0 && exceeds(bounds.spend_per_day, spent + price) {
            return Err(Error::LimitReached { retry_after: self.until_tomorrow() });
        }
        self.check_test_turns(admission, conversation)
    }

    /// Test turns are free, so they are counted by day; a key of the workspace lifts that.
    pub(super) fn check_test_turns(
        &mut self,
        admission: &Admission,
        conversation: &Conversation,
    ) -> Result<(), Error> {
        if conversation.kind != ConversationKind::Test || admission.has_api_key {
            return Ok(());
        }
        let turns = self.daily_usage(admission.workspace).map_or(0, |(turns, _)| turns);
        match self.context.bounds.test_turns_per_day {
            Some(limit) if turns >= limit => Err(Error::LimitReached { retry_after: self.until_tomorrow() }),
            Some(_) | None => Ok(()),
        }
    }

    /// The day's test turns and spending; a new day begins with none.
    pub(super) fn daily_usage(&mut self, workspace: WorkspaceId) -> Option<(i64, Money)> {
        // By the store's clock: at midnight two processes must not take turns to begin the day.
        let day = self.context.now.day();
        let state = &mut self.tables.workspaces.get_mut(&workspace)?.state;
        if state.day != day {
            state.day = day;
            state.day_test_turns = 0;
            state.day_spent = Money::ZERO;
        }
        Some((state.day_test_turns, state.day_spent))
    }

    fn until_tomorrow(&self) -> Duration {
        let now = self.context.now;
        let tomorrow = Micros((now.day() + 1) * 86_400_000_000);
        tomorrow.since(now)
    }

    pub(super) fn check_bounds(
        &self,
        admission: &Admission,
        conversation: &Conversation,
    ) -> Result<(), Error> {
        if conversation.open_turns >= self.context.bounds.max_open_per_conversation {
            return Err(match admission.api {
                Api::Widget => Error::Processing(Failure::ConversationBusy),
                Api::Platform => {
                    Error::Overloaded { text: "The conversation is busy", retry_after: RETRY_AFTER }
                }
            });
        }
        let open = self.tables.workspaces.get(&admission.workspace).map_or(0, |row| row.state.open_turns);
        if open >= self.context.bounds.max_open {
            return Err(Error::Overloaded {
                text: "Too many replies are being made",
                retry_after: RETRY_AFTER,
            });
        }
        Ok(())
    }
}
