-- The keys of the operator's API.
create table operator_keys (
    hash blob primary key not null,
    id blob not null unique,
    name text not null,
    prefix text not null,
    created_at integer not null,
    expires_at integer,
    revoked_at integer,
    last_used_at integer
) strict;
-- The secret of a key before it was rolled, which is valid until that time.
alter table api_keys add column previous_hash blob;
alter table api_keys add column previous_until integer;
create unique index api_keys_by_previous_hash on api_keys (previous_hash);
-- Existing workspaces were made by files. A suspended one admits nothing. The rows of a deleted one are removed in the background; its own
-- row stays, because the ledger refers to it, without its slug and name.
alter table workspaces add column from_file integer not null default 1;
alter table workspaces add column suspended_at integer;
alter table workspaces add column deleted_at integer;
alter table workspaces add column removed_at integer;
create index workspaces_suspended on workspaces (id) where suspended_at is not null and removed_at is null;
