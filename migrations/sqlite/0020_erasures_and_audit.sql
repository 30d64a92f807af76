-- The calendars whose server has not removed an appointment since a time: a JSON object. After a while no other of theirs is tried.
alter table erasures add column failing_calendars text not null default '{}';
-- In the order in which all are read.
drop index conversations_deleted;
create index conversations_deleted on conversations (deleted_at, id) where deleted_at is not null;
