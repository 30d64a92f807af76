-- A booking that a request of the API makes need not belong to a conversation.
create table new_bookings (
    workspace_id blob not null,
    calendar_id blob not null,
    id blob not null,
    call_id text not null,
    conversation_id blob,
    starts_at integer not null,
    ends_at integer not null,
    title text not null,
    name text,
    email text,
    notes text,
    created_at integer not null,
    cancelled_at integer,
    -- For a booking on a CalDAV server: the URL of its resource.
    resource text,
    -- Who is about to create the resource: a turn, or for a request the row's own id. While it is set, this row is a hold and not yet
    -- a booking.
    held_by blob,
    primary key (workspace_id, calendar_id, id),
    unique (workspace_id, calendar_id, call_id)
) strict;
insert into new_bookings (workspace_id, calendar_id, id, call_id, conversation_id, starts_at, ends_at, title, name, email, notes,
    created_at, cancelled_at, resource, held_by)
select workspace_id, calendar_id, id, call_id, conversation_id, starts_at, ends_at, title, name, email, notes, created_at, cancelled_at,
    resource, held_by from bookings;
drop table bookings;
alter table new_bookings rename to bookings;
create unique index bookings_live on bookings (workspace_id, calendar_id, starts_at)
    where cancelled_at is null and resource is null;
create index bookings_by_time on bookings (workspace_id, calendar_id, starts_at, id);
create index bookings_of_conversation on bookings (workspace_id, calendar_id, conversation_id);
create index bookings_by_creation on bookings (workspace_id, calendar_id, created_at);
-- Older binaries cannot read a booking without a conversation.
update schema_floor set oldest_binary = 3;
