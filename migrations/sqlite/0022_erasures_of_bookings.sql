-- The booking that is erased, if it is a single one.
alter table erasures add column calendar_id blob;
alter table erasures add column booking_id blob;

-- The conversations of an erasure whose content another erasure removes. It ends after that one.
create table awaited_conversations (
    workspace_id blob not null,
    erasure_id blob not null,
    conversation_id blob not null,
    primary key (workspace_id, erasure_id, conversation_id)
) strict;

-- The erasure that could not remove the booking's copy from its CalDAV server.
alter table bookings add column unremoved_by blob;
create index bookings_unremoved on bookings (workspace_id, conversation_id) where unremoved_by is not null;

-- The errors that a retention of journals removes.
create index turns_with_model_error on turns (workspace_id, id) where model_error is not null;

-- Older binaries would end the erasure of a booking without removing anything.
update schema_floor set oldest_binary = 5;
