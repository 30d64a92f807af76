//! The widget API, as its contract describes it.

mod conversations;
mod demo;
mod human_takeover;
mod idempotency;
mod key_scopes;
mod knowledge;
mod large_results;
mod limits;
mod messages;
mod model_faults;
mod money;
mod token_budgets;
mod tools;
mod unknown_names;
mod variables;
mod widget_assistant;
