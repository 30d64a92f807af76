//! A workspace: one tenant, its settings, and the state that the writer locks.

use serde::Deserialize;

use super::clock::Micros;
use super::conversation::ConversationKind;
use super::ids::{AssistantId, WorkspaceId};
use super::money::Money;
use super::retention::Retention;
use super::token_budget::TokenBudgets;

/// The settings of a workspace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Workspace {
    pub id: WorkspaceId,
    pub slug: String,
    pub name: String,
    /// Whether a platform message without a conversation creates one.
    pub auto_create_conversations: bool,
    pub default_assistant: Option<AssistantId>,
    pub pricing: Pricing,
    /// The threshold of `balance.low`.
    pub balance_low: Option<Money>,
    /// Private hosts that its tools and webhooks may reach.
    pub allow_hosts: Vec<String>,
    /// Those of the server apply, too.
    pub token_budgets: TokenBudgets,
    /// Whether a workspace file made it; if so, only a file changes its settings.
    pub from_file: bool,
    pub created_at: Micros,
    /// Since when it admits nothing.
    pub suspended_at: Option<Micros>,
    /// Since when it is being removed.
    pub deleted_at: Option<Micros>,
    pub retention: Retention,
}

/// What one reply costs, by the type of its conversation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields, expecting = "a table of prices, such as { api = \"0.02\" }")]
pub struct Pricing {
    pub widget: Money,
    pub test: Money,
    pub api: Money,
}

impl Default for Pricing {
    fn default() -> Self {
        Self { widget: Money(10_000), test: Money::ZERO, api: Money::ZERO }
    }
}

impl Pricing {
    /// The price of one reply in a conversation of this type.
    #[must_use]
    pub fn of(&self, kind: ConversationKind) -> Money {
        match kind {
            ConversationKind::Widget => self.widget,
            ConversationKind::Test => self.test,
            ConversationKind::Api => self.api,
        }
    }
}

/// A row of `workspace_state`, read and written only under its lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WorkspaceState {
    pub balance: Money,
    pub next_cursor: i64,
    pub next_ledger_number: i64,
    /// Open turns.
    pub open_turns: i64,
    /// The day (UTC, since the epoch) of the three counts below.
    pub day: i64,
    pub day_test_turns: i64,
    /// Charges of the day, also those that were refunded.
    pub day_spent: Money,
    /// Tokens of models, also those of turns without a reply.
    pub day_tokens: i64,
    /// Whether `balance.low` was sent since the balance was last above the threshold.
    pub low_notified: bool,
    /// Changes with the settings, the webhook endpoints and the assistants of the workspace.
    pub config_version: i64,
    /// Conversations that visitors created and in which nothing has happened since.
    pub untouched: i64,
}

impl WorkspaceState {
    /// The state of a new workspace.
    #[must_use]
    pub fn new(day: i64) -> Self {
        Self {
            balance: Money::ZERO,
            next_cursor: 1,
            next_ledger_number: 1,
            open_turns: 0,
            day,
            day_test_turns: 0,
            day_spent: Money::ZERO,
            day_tokens: 0,
            low_notified: false,
            config_version: 0,
            untouched: 0,
        }
    }

    /// The tokens of a day (UTC, since the epoch).
    #[must_use]
    pub fn tokens_on(&self, day: i64) -> i64 {
        if self.day == day { self.day_tokens } else { 0 }
    }
}
