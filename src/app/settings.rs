//! Derives the settings of each part from the configuration.

use crate::config::{Config, Limits};
use crate::domain::history::HistoryBounds;
use crate::domain::token_budget::TokenBudgets;
use crate::domain::tool_loop::TurnLimits;
use crate::service::run_turn::EngineSettings;
use crate::service::state::FollowerBounds;
use crate::store::turns::overdue::LifetimeLimits;
use crate::worker::{DeliverySettings, UntouchedLimits, WorkerSettings};
use crate::writer::{Bounds, SlotLimits};

/// The limits of turns.
pub(super) fn engine(config: &Config, default_model: String) -> anyhow::Result<EngineSettings> {
    Ok(EngineSettings {
        default_model,
        limits: TurnLimits {
            max_rounds: config.turn.max_rounds,
            max_tool_calls: usize::try_from(config.turn.max_tool_calls)?,
        },
        history: HistoryBounds {
            max_messages: config.model.history_messages,
            max_tokens: config.model.history_tokens,
        },
        attempt_timeout: config.turn.deadline,
        max_attempts: i64::from(config.turn.max_attempts),
        max_age: config.turn.max_age,
        token_budgets: token_budgets(config),
    })
}

/// The limits of event followers.
pub(super) fn followers(config: &Config) -> FollowerBounds {
    FollowerBounds {
        max_followers: config.events.max_followers,
        max_followers_per_workspace: config.events.max_followers_per_workspace,
    }
}

/// The limits of concurrent turns.
pub(super) fn slot_limits(config: &Config) -> SlotLimits {
    SlotLimits { max_in_flight: turn_slots(config), per_workspace: config.turn.max_in_flight_per_workspace }
}

/// The most turns that run in this process. Only a few of them should wait for a model: the others are better queued,
/// where they may wait for `turn.max_wait` and other processes can claim them.
fn turn_slots(config: &Config) -> usize {
    const SLOTS_PER_MODEL_CALL: usize = 16;
    let model_bound =
        config.model.max_in_flight.map_or(usize::MAX, |calls| calls.saturating_mul(SLOTS_PER_MODEL_CALL));
    config.turn.max_in_flight.min(model_bound)
}

/// The limits beyond which a message is refused.
pub(super) fn bounds(config: &Config) -> Bounds {
    let limits = config.limits.enabled.then_some(&config.limits);
    Bounds {
        max_open_per_conversation: i64::from(config.turn.max_open_per_conversation),
        max_open: i64::from(config.turn.max_open),
        messages_per_conversation: limits.map(|limits| i64::from(limits.messages_per_conversation)),
        spend_per_conversation: limits.and_then(|limits| limits.spend_per_conversation).map(|spend| spend.0),
        spend_per_day: limits.and_then(|limits| limits.spend_per_day).map(|spend| spend.0),
        test_turns_per_day: limits.map(|limits| i64::from(limits.test_turns_per_day)),
        untouched_conversations: limits.map(|limits| i64::from(limits.untouched_conversations)),
        token_budgets: token_budgets(config),
    }
}

/// The budgets that apply to every workspace.
fn token_budgets(config: &Config) -> TokenBudgets {
    let limits = &config.limits;
    if !limits.enabled {
        return TokenBudgets::UNLIMITED;
    }
    TokenBudgets::new(limits.tokens_per_conversation, limits.tokens_per_day)
}

/// The settings of the worker.
pub(super) fn worker(config: &Config) -> WorkerSettings {
    WorkerSettings {
        lease: config.turn.lease,
        attempt_timeout: config.turn.deadline,
        life: LifetimeLimits {
            max_age: config.turn.max_age,
            max_wait: config.turn.max_wait,
            max_takeovers: i64::from(config.turn.max_takeovers),
        },
        event_retention: config.events.retention,
        address_retention: config.audit.address_retention,
        untouched: config.limits.enabled.then(|| untouched(&config.limits)),
        deliveries: DeliverySettings {
            max_in_flight: config.webhooks.max_in_flight,
            max_in_flight_per_endpoint: config.webhooks.max_in_flight_per_endpoint,
        },
    }
}

fn untouched(limits: &Limits) -> UntouchedLimits {
    UntouchedLimits {
        max_age: limits.untouched_retention,
        max_kept: i64::from(limits.untouched_conversations / 2).max(1),
    }
}
