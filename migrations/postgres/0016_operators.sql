-- The keys of the operator's API.
create table operator_keys (
    hash bytea primary key,
    id uuid not null unique,
    name text not null,
    prefix text not null,
    created_at bigint not null,
    expires_at bigint,
    revoked_at bigint,
    last_used_at bigint
);
-- The secret of a key before it was rolled, which is valid until that time.
alter table api_keys add column previous_hash bytea, add column previous_until bigint;
create unique index api_keys_by_previous_hash on api_keys (previous_hash);
-- Existing workspaces were made by files. A suspended one admits nothing. The rows of a deleted one are removed in the background; its own
-- row stays, because the ledger refers to it, without its slug and name.
alter table workspaces add column from_file boolean not null default true,
    add column suspended_at bigint, add column deleted_at bigint, add column removed_at bigint;
create index workspaces_suspended on workspaces (id) where suspended_at is not null and removed_at is null;
