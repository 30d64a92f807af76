-- True from the creation by a visitor until anything happens in the conversation. Older binaries leave it alone, so only the messages
-- tell whether a conversation is really untouched.
alter table conversations add column untouched integer not null default 0;
create index conversations_untouched on conversations (created_at) where untouched;
-- The number of its conversations with that mark.
alter table workspace_state add column untouched integer not null default 0;
