//! The widget API, as its contract describes it.

mod conversations;
mod demo;
mod feedback;
mod human_takeover;
mod idempotency;
mod identities;
mod key_scopes;
mod knowledge;
mod large_results;
mod limits;
mod messages;
mod model_faults;
mod money;
mod token_budgets;
mod tools;
mod typing;
mod unknown_names;
mod variables;
mod visitor_events;
mod widget_assistant;
