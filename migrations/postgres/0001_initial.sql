-- The clock for every timestamp that one process writes and another acts on. Tests replace it.
create function store_now() returns bigint language sql volatile
    as $$ select cast(extract(epoch from clock_timestamp()) * 1000000 as bigint) $$;

-- The oldest binary that may still serve this database; older ones refuse to start.
create table schema_floor (oldest_binary bigint not null);
insert into schema_floor (oldest_binary) values (1);

create table workspaces (
    id uuid primary key,
    slug text not null unique,
    name text not null,
    auto_create_conversations boolean not null,
    default_assistant_id uuid,
    price_widget bigint not null,
    price_test bigint not null,
    price_api bigint not null,
    balance_low bigint,
    allow_hosts text not null,
    created_at bigint not null
);

-- One row per workspace. The writer always locks it first.
create table workspace_state (
    workspace_id uuid primary key references workspaces (id),
    balance bigint not null check (balance >= 0),
    next_cursor bigint not null,
    next_ledger_number bigint not null,
    open_turns bigint not null,
    day bigint not null,
    day_test_turns bigint not null,
    day_spent bigint not null,
    low_notified boolean not null,
    -- The cursor of the oldest retained event. Events below it are no longer returned and will be removed.
    events_from bigint not null default 1,
    -- Changes with the settings, the webhook endpoints and the assistants of the workspace, which processes cache.
    config_version bigint not null default 0
);

create table api_keys (
    hash bytea primary key,
    id uuid not null unique,
    workspace_id uuid not null references workspaces (id),
    name text not null,
    prefix text not null,
    scopes text not null,
    created_at bigint not null,
    expires_at bigint,
    revoked_at bigint,
    last_used_at bigint
);
create index api_keys_of_workspace on api_keys (workspace_id, created_at);

create table assistants (
    workspace_id uuid not null references workspaces (id),
    id uuid not null,
    slug text not null,
    name text not null,
    current_version bigint not null,
    pause_on_agent_message boolean not null,
    from_file boolean not null,
    archived_at bigint,
    created_at bigint not null,
    primary key (workspace_id, id),
    unique (workspace_id, slug)
);
-- The widget API names an assistant by its id alone, so ids are unique across workspaces.
create unique index assistants_by_id on assistants (id);

-- Immutable. The compiled configuration that a turn runs with.
create table assistant_versions (
    workspace_id uuid not null,
    assistant_id uuid not null,
    version bigint not null,
    compiled text not null,
    created_at bigint not null,
    primary key (workspace_id, assistant_id, version),
    foreign key (workspace_id, assistant_id) references assistants (workspace_id, id)
);

create table tools (
    workspace_id uuid not null references workspaces (id),
    id uuid not null,
    slug text not null,
    definition text not null,
    from_file boolean not null,
    archived_at bigint,
    created_at bigint not null,
    primary key (workspace_id, id),
    unique (workspace_id, slug)
);

create table calendars (
    workspace_id uuid not null references workspaces (id),
    id uuid not null,
    slug text not null,
    rules text not null,
    from_file boolean not null,
    archived_at bigint,
    created_at bigint not null,
    primary key (workspace_id, id),
    unique (workspace_id, slug)
);

-- The collections that assistants search. Ranking needs the counts here and in `terms`; both change only under this
-- row's lock. The sweeper removes bases that the API deleted (archived, and not from a workspace file).
create table knowledge_bases (
    workspace_id uuid not null references workspaces (id),
    id uuid not null,
    slug text not null,
    name text,
    language text not null,
    passages bigint not null,
    words bigint not null,
    from_file boolean not null,
    archived_at bigint,
    created_at bigint not null,
    updated_at bigint not null,
    primary key (workspace_id, id)
);
create unique index knowledge_bases_by_slug on knowledge_bases (workspace_id, slug)
    where archived_at is null or from_file;
create index knowledge_bases_deleted on knowledge_bases (archived_at) where archived_at is not null and not from_file;

create table documents (
    workspace_id uuid not null,
    id uuid not null,
    base_id uuid not null,
    slug text not null,
    title text not null,
    url text,
    format text not null,
    -- Always Markdown, whatever the source format was.
    text text not null,
    digest bytea not null,
    passages bigint not null,
    words bigint not null,
    from_file boolean not null,
    created_at bigint not null,
    updated_at bigint not null,
    primary key (workspace_id, id),
    unique (workspace_id, base_id, slug),
    foreign key (workspace_id, base_id) references knowledge_bases (workspace_id, id)
);
create index documents_in_order on documents (workspace_id, base_id, id);

-- Search runs over `words`: the base's scope term, then the stemmed words of title, heading and text, separated by `/`.
-- The scope term lets the index itself keep bases apart. Only a document's first 20 passages match by its title;
-- otherwise a title match would return nothing but the thousands of passages of one document.
create table passages (
    workspace_id uuid not null,
    number bigint generated always as identity,
    base_id uuid not null,
    document_id uuid not null,
    position bigint not null,
    heading text not null,
    text text not null,
    words text not null,
    search tsvector not null generated always as
        (array_to_tsvector(array_remove(string_to_array(case when position < 20 then words
            else split_part(words, ' ', 1) || ' ' || substr(words, strpos(words, '/')) end, ' '), '/'))) stored,
    primary key (workspace_id, document_id, position),
    foreign key (workspace_id, document_id) references documents (workspace_id, id)
);
create unique index passages_by_number on passages (number);
create index passages_by_word on passages using gin (search);

-- The embedding of each passage, by model, where an embeddings endpoint is configured. `number` is the passage's number,
-- which changes when the passage is rewritten. Dimension 0: the model rejects this text.
create table passage_vectors (
    workspace_id uuid not null,
    base_id uuid not null,
    document_id uuid not null,
    position bigint not null,
    model text not null,
    number bigint not null,
    -- Digest of the embedded text: a rewritten document keeps the vectors of unchanged passages.
    digest bytea not null,
    dimension bigint not null,
    -- `dimension` little-endian 32-bit floats, normalised to length 1.
    vector bytea not null,
    primary key (workspace_id, base_id, document_id, position, model),
    foreign key (workspace_id, document_id, position)
        references passages (workspace_id, document_id, position) on delete cascade
);
create index passage_vectors_of_passage on passage_vectors (workspace_id, document_id, position);
-- Compressing vectors is expensive and saves nothing.
alter table passage_vectors alter column vector set storage external;

-- The embedding models in use, with the time of last use. Each new or changed document is embedded by every one of them.
create table embedding_models (
    model text primary key not null,
    last_used bigint not null
);

-- The embedding progress of a document for a model. `claimed_until`: a process holds the claim, or backs off, until then.
-- A row is valid only for the passages that start at `first_number`. Rows without `finished_at` are still to be embedded.
create table document_embeddings (
    workspace_id uuid not null,
    document_id uuid not null,
    model text not null,
    first_number bigint not null,
    embedded bigint not null,
    claimed_until bigint not null,
    -- How often the endpoint timed out on a single passage of this document.
    failures bigint not null default 0,
    finished_at bigint,
    primary key (workspace_id, document_id, model),
    foreign key (workspace_id, document_id) references documents (workspace_id, id) on delete cascade
);
create index document_embeddings_unfinished on document_embeddings (model, workspace_id, first_number)
    where finished_at is null;
create index document_embeddings_of_model on document_embeddings (model, workspace_id, document_id);

-- Document frequency: the number of passages of a base that contain a term.
create table terms (
    workspace_id uuid not null,
    base_id uuid not null,
    term text not null,
    passages bigint not null,
    primary key (workspace_id, base_id, term),
    foreign key (workspace_id, base_id) references knowledge_bases (workspace_id, id)
);

create table conversations (
    workspace_id uuid not null,
    id uuid not null,
    kind text not null,
    assistant_id uuid not null,
    ai_enabled boolean not null,
    created_at bigint not null,
    ended_at bigint,
    deleted_at bigint,
    next_position bigint not null,
    open_turns bigint not null,
    spent bigint not null,
    key_variables text not null,
    visitor_variables text not null,
    metadata text,
    external_identifier text,
    primary key (workspace_id, id)
);
create index conversations_by_age on conversations (workspace_id, created_at, id);
create index conversations_by_external on conversations (workspace_id, external_identifier)
    where external_identifier is not null;

-- The widget API's directory: maps a capability to its conversation.
create table widget_links (
    id uuid primary key,
    workspace_id uuid not null,
    conversation_id uuid not null,
    created_at bigint not null,
    unique (workspace_id, conversation_id)
);

create table messages (
    workspace_id uuid not null,
    conversation_id uuid not null,
    position bigint not null,
    id uuid not null,
    sender_type text not null,
    sender_id text not null,
    text text not null,
    metadata text,
    reply_to_id uuid,
    answers bigint,
    function_calls text,
    is_truncated boolean not null,
    turn_id uuid,
    created_at bigint not null,
    primary key (workspace_id, conversation_id, position)
);
create unique index messages_by_id on messages (workspace_id, id);

create table turns (
    workspace_id uuid not null,
    id uuid not null,
    conversation_id uuid not null,
    position bigint not null,
    message_id uuid not null,
    api text not null,
    state text not null,
    owner uuid,
    fence bigint not null,
    attempts bigint not null,
    takeovers bigint not null,
    not_before bigint not null,
    admitted_at bigint not null,
    first_started_at bigint,
    deadline_at bigint,
    price bigint not null,
    assistant_id uuid not null,
    assistant_version bigint not null,
    idempotency_scope text,
    idempotency_key text,
    reason text,
    model_error text,
    reply_id uuid,
    ended_at bigint,
    primary key (workspace_id, id)
) with (fillfactor = 70);
create index turns_to_claim on turns (api, not_before) where state = 'queued';
create index turns_open on turns (workspace_id, conversation_id, position)
    where state in ('waiting', 'queued', 'running');
create index turns_owned on turns (owner) where state = 'running';
create index turns_with_deadline on turns (deadline_at)
    where deadline_at is not null and state in ('waiting', 'queued', 'running');
create index turns_by_age on turns (admitted_at) where state in ('waiting', 'queued', 'running');
create index turns_taken_over on turns (takeovers)
    where takeovers > 0 and state in ('waiting', 'queued', 'running');

-- Position 0 of a step is the model's answer; positions from 1 on are its calls.
create table journal (
    workspace_id uuid not null,
    turn_id uuid not null,
    step bigint not null,
    position bigint not null,
    conversation_id uuid not null,
    attempt bigint not null,
    started_at bigint not null,
    finished_at bigint,
    content text not null,
    result text,
    primary key (workspace_id, turn_id, step, position)
);

create table bookings (
    workspace_id uuid not null,
    calendar_id uuid not null,
    id uuid not null,
    call_id text not null,
    conversation_id uuid not null,
    starts_at bigint not null,
    ends_at bigint not null,
    title text not null,
    name text,
    email text,
    notes text,
    created_at bigint not null,
    cancelled_at bigint,
    -- For a booking on a CalDAV server: the URL of its resource.
    resource text,
    -- The turn that is about to create the resource. While it is set, this row is a hold and not yet a booking.
    held_by uuid,
    primary key (workspace_id, calendar_id, id),
    unique (workspace_id, calendar_id, call_id)
);
-- For a booking on a CalDAV server, only the server knows its current time.
create unique index bookings_live on bookings (workspace_id, calendar_id, starts_at)
    where cancelled_at is null and resource is null;
create index bookings_by_time on bookings (workspace_id, calendar_id, starts_at, id);

-- The directory of iCalendar feed addresses: maps a capability to its calendar.
create table calendar_links (
    id uuid primary key,
    workspace_id uuid not null,
    calendar_id uuid not null,
    created_at bigint not null,
    unique (workspace_id, calendar_id),
    foreign key (workspace_id, calendar_id) references calendars (workspace_id, id)
);

create table ledger (
    workspace_id uuid not null,
    number bigint not null,
    kind text not null,
    amount bigint not null,
    balance_after bigint not null,
    turn_id uuid,
    reference text,
    created_at bigint not null,
    primary key (workspace_id, number)
);
create unique index ledger_by_reference on ledger (workspace_id, reference) where reference is not null;

create table events (
    workspace_id uuid not null,
    cursor bigint not null,
    id uuid not null,
    type text not null,
    conversation_id uuid,
    body text not null,
    created_at bigint not null,
    primary key (workspace_id, cursor)
);
create unique index events_by_id on events (workspace_id, id);
-- The filters of the event feed; a page is a short range of one of these indexes.
create index events_by_type on events (workspace_id, type, cursor);
create index events_by_conversation on events (workspace_id, conversation_id, cursor)
    where conversation_id is not null;

-- Written under the workspace's lock, except `failing_since`. Archived endpoints receive no events; the sweeper
-- removes endpoints that the API deleted (archived, and not from a workspace file).
create table webhook_endpoints (
    workspace_id uuid not null references workspaces (id),
    id uuid not null,
    slug text,
    description text,
    url text not null,
    types text not null,
    secret text not null,
    previous_secret text,
    previous_secret_until bigint,
    enabled boolean not null,
    disabled_reason text,
    failing_since bigint,
    from_file boolean not null,
    archived_at bigint,
    created_at bigint not null,
    updated_at bigint not null,
    primary key (workspace_id, id),
    unique (workspace_id, slug)
);
create index webhook_endpoints_archived on webhook_endpoints (archived_at) where archived_at is not null;

create table deliveries (
    workspace_id uuid not null,
    endpoint_id uuid not null,
    cursor bigint not null,
    id uuid not null,
    conversation_id uuid,
    state text not null,
    owner uuid,
    fence bigint not null,
    attempts bigint not null,
    -- Attempts of earlier rounds: a resend restarts the schedule but continues the count.
    attempts_before bigint not null,
    -- Resent on request; the delivery says so.
    replay boolean not null,
    not_before bigint not null,
    created_at bigint not null,
    ended_at bigint,
    primary key (workspace_id, endpoint_id, cursor)
);
create unique index deliveries_by_id on deliveries (workspace_id, id);
create index deliveries_failed on deliveries (workspace_id, endpoint_id, cursor) where state = 'failed';
create index deliveries_to_claim on deliveries (workspace_id, endpoint_id, not_before, cursor) where state = 'queued';
create index deliveries_in_order on deliveries (workspace_id, endpoint_id, conversation_id, cursor)
    where state in ('queued', 'running');
create index deliveries_owned on deliveries (owner) where state = 'running';

create table attempts (
    workspace_id uuid not null,
    endpoint_id uuid not null,
    cursor bigint not null,
    number bigint not null,
    started_at bigint not null,
    finished_at bigint,
    status bigint,
    outcome text,
    excerpt text,
    primary key (workspace_id, endpoint_id, cursor, number)
);

create table idempotency (
    workspace_id uuid not null,
    scope text not null,
    key text not null,
    fingerprint bytea not null,
    turn_id uuid,
    status bigint,
    body text,
    code text,
    reason text,
    created_at bigint not null,
    primary key (workspace_id, scope, key)
);
create index idempotency_by_age on idempotency (created_at);

create table processes (
    id uuid primary key,
    expires_at bigint not null,
    started_at bigint not null
);

-- Turns that someone other than their owner ended; the owner polls this table and stops them.
create table cancellations (
    owner uuid not null,
    turn_id uuid not null,
    primary key (owner, turn_id)
);
