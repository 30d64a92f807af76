-- Who changed what: configuration, keys, money and workspaces, and each export and deletion. Rows never change, except that `address` is
-- removed after a time.
create table audit_log (
    id blob primary key not null,
    -- Null for what belongs to no workspace, such as a key of an operator. It stays when the workspace is deleted.
    workspace_id blob,
    created_at integer not null,
    actor_kind text not null,
    -- Its id and name at the time: the key may be deleted since.
    actor_id text,
    actor_name text not null,
    route text,
    address text,
    request_id text,
    action text not null,
    object_kind text not null,
    object_id text not null,
    object_name text,
    -- The fields that differ, as JSON objects, with secrets redacted.
    fields_before text,
    fields_after text
) strict;
create index audit_log_of_workspace on audit_log (workspace_id, id);
create index audit_log_with_address on audit_log (created_at) where address is not null;
