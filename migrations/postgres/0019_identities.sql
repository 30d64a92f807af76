-- The visitor of the conversation, as a signed token of the site's back end named it: its subject, and its other claims (a JSON object),
-- which are variables until the token expires.
alter table conversations add column identity text, add column identity_variables text not null default '{}',
    add column identity_expires_at bigint;
create index conversations_by_identity on conversations (workspace_id, identity, updated_at, id)
    where identity is not null and deleted_at is null;
-- A person may be erased by this name, too.
alter table erasures add column identity text;

-- The secrets that sign such tokens, sealed. An assistant has two at most, so that one can be replaced.
create table identity_secrets (
    workspace_id uuid not null,
    id uuid not null,
    assistant_id uuid not null,
    secret text not null,
    created_at bigint not null,
    primary key (workspace_id, id),
    foreign key (workspace_id, assistant_id) references assistants (workspace_id, id)
);
create index identity_secrets_of_assistant on identity_secrets (workspace_id, assistant_id, id);
