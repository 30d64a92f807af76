-- The tokens of models, by which the budgets of a workspace are checked: those of its day (see `day`), and those of a conversation.
-- In the order in which transactions lock these tables, so that a process that runs meanwhile waits and does not deadlock.
alter table workspace_state add column day_tokens bigint not null default 0;
alter table conversations add column tokens bigint not null default 0;
-- The budgets of the workspace file. Null: no limit of its own.
alter table workspaces add column tokens_per_conversation bigint, add column tokens_per_day bigint;
