//! Periodic work of a process that no request waits for.

pub(super) mod embeddings;
pub(super) mod erasures;
pub(super) mod message_index;
pub(super) mod overdue_turns;
pub(super) mod remnants;
pub(super) mod retention;
pub(super) mod statistics;
pub(super) mod usage;
pub(super) mod workspace_retention;
pub(super) mod workspaces;
