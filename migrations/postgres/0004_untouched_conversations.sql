-- The number of conversations with the mark below. In the order in which transactions lock these tables, so that a process that runs
-- meanwhile waits and does not deadlock.
alter table workspace_state add column untouched bigint not null default 0;
-- True from the creation by a visitor until anything happens in the conversation. Older binaries leave it alone, so only the messages
-- tell whether a conversation is really untouched.
alter table conversations add column untouched boolean not null default false;
create index conversations_untouched on conversations (workspace_id, created_at) where untouched;
