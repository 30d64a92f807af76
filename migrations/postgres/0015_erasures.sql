-- The tables are changed in the order in which transactions lock them, so that a process that runs meanwhile waits and does not deadlock.
-- The erasure that deleted the conversation, and when its content was removed.
alter table conversations add column erasure_id uuid, add column erased_at bigint;
create index conversations_to_erase on conversations (workspace_id, erasure_id, id)
    where erasure_id is not null and erased_at is null;
create index conversations_deleted on conversations (deleted_at) where deleted_at is not null;
-- Deleted conversations are never listed.
drop index conversations_by_age;
create index conversations_by_age on conversations (workspace_id, created_at, id) where deleted_at is null;

-- Requests to delete conversations with everything that is stored of them. A worker carries them out. What they name is removed from
-- their row when they are done; ids and counts stay.
create table erasures (
    workspace_id uuid not null references workspaces (id),
    id uuid not null,
    reason text not null,
    -- What is erased: one conversation; those of a person, by either name; or those without a message since a time.
    conversation_id uuid,
    external_identifier text,
    sender_id text,
    inactive_since bigint,
    -- How far the search for those has come.
    scanned_at bigint,
    scanned_id uuid,
    created_at bigint not null,
    ended_at bigint,
    -- When all its conversations were marked as deleted, and when their content was removed.
    marked_at bigint,
    emptied_at bigint,
    -- A process works on it until then.
    claimed_until bigint not null,
    conversations bigint not null default 0,
    messages bigint not null default 0,
    events bigint not null default 0,
    bookings bigint not null default 0,
    -- The appointments that are still on a CalDAV server: a JSON array, of which only the first are listed.
    remaining text not null default '[]',
    remaining_count bigint not null default 0,
    primary key (workspace_id, id)
);
create index erasures_to_claim on erasures (workspace_id, claimed_until, id) where emptied_at is null;
create index erasures_emptied on erasures (workspace_id, id) where emptied_at is not null and ended_at is null;

-- How long the workspace keeps each, in microseconds. Null: for ever.
alter table workspaces
    add column retention_conversations bigint,
    add column retention_journals bigint,
    add column retention_bookings bigint;

-- The people whom a back end names by its messages. All visitors have the same name, which is nobody's.
create index messages_by_sender on messages (workspace_id, sender_id, conversation_id)
    where sender_type = 'user' and sender_id <> 'visitor';

-- The conversation of the response. Once it is deleted, only a digest of the key is kept, with which a repeated request is refused.
alter table idempotency add column conversation_id uuid;
update idempotency set conversation_id = (select turns.conversation_id from turns
    where turns.workspace_id = idempotency.workspace_id and turns.id = idempotency.turn_id) where turn_id is not null;
create index idempotency_of_conversation on idempotency (workspace_id, conversation_id) where conversation_id is not null;

-- When the content of the booking was removed, and its copy on a CalDAV server, or the attempt was given up.
alter table bookings add column erased_at bigint;
create index bookings_to_erase on bookings (workspace_id, conversation_id, id) where erased_at is null;
create index bookings_by_end on bookings (workspace_id, ends_at) where title <> '';
