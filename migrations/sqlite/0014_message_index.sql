-- The time of its last message or change, for lists. Zero for a conversation of an older binary until something happens in it.
alter table conversations add column updated_at integer not null default 0;
update conversations set updated_at = max(created_at, coalesce(ended_at, 0), coalesce((select max(messages.created_at) from messages
    where messages.workspace_id = conversations.workspace_id and messages.conversation_id = conversations.id), 0));
create index conversations_by_update on conversations (workspace_id, updated_at, id) where deleted_at is null;
-- The turn that runs a failed turn again.
alter table turns add column retried_by blob;
create index turns_of_conversation on turns (workspace_id, conversation_id, id);
-- The index of messages that lists and searches read. A worker fills it, in the order of the workspace's events.
create table message_index (
    entry integer primary key autoincrement not null,
    workspace_id blob not null,
    -- Counts in the workspace; the order of the lists.
    number integer not null,
    conversation_id blob not null,
    position integer not null,
    created_at integer not null,
    unique (workspace_id, number),
    unique (workspace_id, conversation_id, position),
    foreign key (workspace_id, conversation_id, position)
        references messages (workspace_id, conversation_id, position) on delete cascade
) strict;
create index message_index_by_time on message_index (workspace_id, created_at, number);
-- Terms of the text, the sender and the metadata, and one that only the entries of its block of numbers have.
create virtual table message_search using fts5 (words, content = '', contentless_delete = 1, detail = none, tokenize = ascii);
create trigger message_index_deleted after delete on message_index begin
    delete from message_search where rowid = old.entry;
end;
-- How far the index of a workspace is: the cursor of the last event whose message it contains, and its next number.
create table message_index_state (
    workspace_id blob primary key not null references workspaces (id) on delete cascade,
    cursor integer not null,
    next_number integer not null
) strict;
