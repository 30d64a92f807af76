-- In the order in which all are read.
drop index conversations_deleted;
create index conversations_deleted on conversations (deleted_at, id) where deleted_at is not null;

-- The last message that was looked at in the place of events that were removed before the index followed them.
alter table message_index_state add column gap_message blob;

-- The calendars whose server has not removed an appointment since a time: a JSON object. After a while no other of theirs is tried.
alter table erasures add column failing_calendars text not null default '{}';

-- The filters of the audit log. An actor or an object belongs to one workspace.
create index audit_log_by_actor on audit_log (actor_id, id) where actor_id is not null;
create index audit_log_by_object on audit_log (object_id, id);
create index audit_log_by_action on audit_log (workspace_id, action, id);
create index audit_log_by_kind on audit_log (workspace_id, object_kind, id);
