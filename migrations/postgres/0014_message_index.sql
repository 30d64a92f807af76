-- The time of its last message or change, for lists. Zero for a conversation of an older binary until something happens in it.
alter table conversations add column updated_at bigint not null default 0;
update conversations set updated_at = greatest(created_at, ended_at, (select max(messages.created_at) from messages
    where messages.workspace_id = conversations.workspace_id and messages.conversation_id = conversations.id));
create index conversations_by_update on conversations (workspace_id, updated_at, id) where deleted_at is null;
-- The turn that runs a failed turn again.
alter table turns add column retried_by uuid;
create index turns_of_conversation on turns (workspace_id, conversation_id, id);
-- The index of messages that lists and searches read. A worker fills it, in the order of the workspace's events.
create table message_index (
    workspace_id uuid not null,
    -- Counts in the workspace; the order of the lists.
    number bigint not null,
    conversation_id uuid not null,
    position bigint not null,
    created_at bigint not null,
    -- Terms of the text, the sender and the metadata, and one that only the entries of its block of numbers have.
    search tsvector not null,
    primary key (workspace_id, number),
    unique (workspace_id, conversation_id, position),
    foreign key (workspace_id, conversation_id, position)
        references messages (workspace_id, conversation_id, position) on delete cascade
);
create index message_index_by_time on message_index (workspace_id, created_at, number);
create index message_index_by_word on message_index using gin (search);
-- How far the index of a workspace is: the cursor of the last event whose message it contains, and its next number.
create table message_index_state (
    workspace_id uuid primary key references workspaces (id) on delete cascade,
    cursor bigint not null,
    next_number bigint not null
);
