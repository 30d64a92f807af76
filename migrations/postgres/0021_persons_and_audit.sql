-- The conversations of a person, in the order in which an erasure looks at them.
drop index conversations_by_external;
create index conversations_by_external on conversations (workspace_id, external_identifier, id)
    where external_identifier is not null;
create index conversations_of_identity on conversations (workspace_id, identity, id) where identity is not null;

-- The filters of the audit log of all workspaces.
create index audit_log_of_action on audit_log (action, id);
create index audit_log_of_kind on audit_log (object_kind, id);
