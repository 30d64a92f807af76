-- The oldest binary that may still serve this database; older ones refuse to start.
create table schema_floor (oldest_binary integer not null) strict;
insert into schema_floor (oldest_binary) values (1);

create table workspaces (
    id blob primary key not null,
    slug text not null unique,
    name text not null,
    auto_create_conversations integer not null,
    default_assistant_id blob,
    price_widget integer not null,
    price_test integer not null,
    price_api integer not null,
    balance_low integer,
    allow_hosts text not null,
    created_at integer not null
) strict;

-- One row per workspace. The writer always locks it first.
create table workspace_state (
    workspace_id blob primary key not null references workspaces (id),
    balance integer not null check (balance >= 0),
    next_cursor integer not null,
    next_ledger_number integer not null,
    open_turns integer not null,
    day integer not null,
    day_test_turns integer not null,
    day_spent integer not null,
    low_notified integer not null,
    -- The cursor of the oldest retained event. Events below it are no longer returned and will be removed.
    events_from integer not null default 1,
    -- Changes with the settings, the webhook endpoints and the assistants of the workspace, which processes cache.
    config_version integer not null default 0
) strict;

create table api_keys (
    hash blob primary key not null,
    id blob not null unique,
    workspace_id blob not null references workspaces (id),
    name text not null,
    prefix text not null,
    scopes text not null,
    created_at integer not null,
    expires_at integer,
    revoked_at integer,
    last_used_at integer
) strict;
create index api_keys_of_workspace on api_keys (workspace_id, created_at);

create table assistants (
    workspace_id blob not null references workspaces (id),
    id blob not null,
    slug text not null,
    name text not null,
    current_version integer not null,
    pause_on_agent_message integer not null,
    from_file integer not null,
    archived_at integer,
    created_at integer not null,
    primary key (workspace_id, id),
    unique (workspace_id, slug)
) strict;
-- The widget API names an assistant by its id alone, so ids are unique across workspaces.
create unique index assistants_by_id on assistants (id);

-- Immutable. The compiled configuration that a turn runs with.
create table assistant_versions (
    workspace_id blob not null,
    assistant_id blob not null,
    version integer not null,
    compiled text not null,
    created_at integer not null,
    primary key (workspace_id, assistant_id, version),
    foreign key (workspace_id, assistant_id) references assistants (workspace_id, id)
) strict;

create table tools (
    workspace_id blob not null references workspaces (id),
    id blob not null,
    slug text not null,
    definition text not null,
    from_file integer not null,
    archived_at integer,
    created_at integer not null,
    primary key (workspace_id, id),
    unique (workspace_id, slug)
) strict;

create table calendars (
    workspace_id blob not null references workspaces (id),
    id blob not null,
    slug text not null,
    rules text not null,
    from_file integer not null,
    archived_at integer,
    created_at integer not null,
    primary key (workspace_id, id),
    unique (workspace_id, slug)
) strict;

-- The collections that assistants search. Ranking needs the counts here and in `terms`; both change only under this
-- row's lock. The sweeper removes bases that the API deleted (archived, and not from a workspace file).
create table knowledge_bases (
    workspace_id blob not null references workspaces (id),
    id blob not null,
    slug text not null,
    name text,
    language text not null,
    passages integer not null,
    words integer not null,
    from_file integer not null,
    archived_at integer,
    created_at integer not null,
    updated_at integer not null,
    primary key (workspace_id, id)
) strict;
create unique index knowledge_bases_by_slug on knowledge_bases (workspace_id, slug)
    where archived_at is null or from_file;
create index knowledge_bases_deleted on knowledge_bases (archived_at) where archived_at is not null and not from_file;

create table documents (
    workspace_id blob not null,
    id blob not null,
    base_id blob not null,
    slug text not null,
    title text not null,
    url text,
    format text not null,
    -- Always Markdown, whatever the source format was.
    text text not null,
    digest blob not null,
    passages integer not null,
    words integer not null,
    from_file integer not null,
    created_at integer not null,
    updated_at integer not null,
    primary key (workspace_id, id),
    unique (workspace_id, base_id, slug),
    foreign key (workspace_id, base_id) references knowledge_bases (workspace_id, id)
) strict;
create index documents_in_order on documents (workspace_id, base_id, id);

-- Search runs over `words`: the base's scope term, then the stemmed words of title, heading and text, separated by `/`.
-- The scope term lets the index itself keep bases apart. Only a document's first 20 passages match by its title;
-- otherwise a title match would return nothing but the thousands of passages of one document.
create table passages (
    workspace_id blob not null,
    number integer primary key autoincrement not null,
    base_id blob not null,
    document_id blob not null,
    position integer not null,
    heading text not null,
    text text not null,
    words text not null,
    unique (workspace_id, document_id, position),
    foreign key (workspace_id, document_id) references documents (workspace_id, id)
) strict;
create virtual table passage_search using fts5 (words, content = '', contentless_delete = 1, detail = none, tokenize = ascii);
create trigger passages_inserted after insert on passages begin
    insert into passage_search (rowid, words) values (new.number, case when new.position < 20 then new.words
        else substr(new.words, 1, instr(new.words, ' ')) || substr(new.words, instr(new.words, '/')) end);
end;
create trigger passages_deleted after delete on passages begin
    delete from passage_search where rowid = old.number;
end;

-- The embedding of each passage, by model, where an embeddings endpoint is configured. `number` is the passage's number,
-- which changes when the passage is rewritten. Dimension 0: the model rejects this text.
create table passage_vectors (
    workspace_id blob not null,
    base_id blob not null,
    document_id blob not null,
    position integer not null,
    model text not null,
    number integer not null,
    -- Digest of the embedded text: a rewritten document keeps the vectors of unchanged passages.
    digest blob not null,
    dimension integer not null,
    -- `dimension` little-endian 32-bit floats, normalised to length 1.
    vector blob not null,
    primary key (workspace_id, base_id, document_id, position, model),
    foreign key (workspace_id, document_id, position)
        references passages (workspace_id, document_id, position) on delete cascade
) strict;
create index passage_vectors_of_passage on passage_vectors (workspace_id, document_id, position);

-- The embedding models in use, with the time of last use. Each new or changed document is embedded by every one of them.
create table embedding_models (
    model text primary key not null,
    last_used integer not null
) strict;

-- The embedding progress of a document for a model. `claimed_until`: a process holds the claim, or backs off, until then.
-- A row is valid only for the passages that start at `first_number`. Rows without `finished_at` are still to be embedded.
create table document_embeddings (
    workspace_id blob not null,
    document_id blob not null,
    model text not null,
    first_number integer not null,
    embedded integer not null,
    claimed_until integer not null,
    -- How often the endpoint timed out on a single passage of this document.
    failures integer not null default 0,
    finished_at integer,
    primary key (workspace_id, document_id, model),
    foreign key (workspace_id, document_id) references documents (workspace_id, id) on delete cascade
) strict;
create index document_embeddings_unfinished on document_embeddings (model, workspace_id, first_number)
    where finished_at is null;
create index document_embeddings_of_model on document_embeddings (model, workspace_id, document_id);

-- Document frequency: the number of passages of a base that contain a term.
create table terms (
    workspace_id blob not null,
    base_id blob not null,
    term text not null,
    passages integer not null,
    primary key (workspace_id, base_id, term),
    foreign key (workspace_id, base_id) references knowledge_bases (workspace_id, id)
) strict, without rowid;

create table conversations (
    workspace_id blob not null,
    id blob not null,
    kind text not null,
    assistant_id blob not null,
    ai_enabled integer not null,
    created_at integer not null,
    ended_at integer,
    deleted_at integer,
    next_position integer not null,
    open_turns integer not null,
    spent integer not null,
    key_variables text not null,
    visitor_variables text not null,
    metadata text,
    external_identifier text,
    primary key (workspace_id, id)
) strict;
create index conversations_by_age on conversations (workspace_id, created_at, id);
create index conversations_by_external on conversations (workspace_id, external_identifier)
    where external_identifier is not null;

-- The widget API's directory: maps a capability to its conversation.
create table widget_links (
    id blob primary key not null,
    workspace_id blob not null,
    conversation_id blob not null,
    created_at integer not null,
    unique (workspace_id, conversation_id)
) strict;

create table messages (
    workspace_id blob not null,
    conversation_id blob not null,
    position integer not null,
    id blob not null,
    sender_type text not null,
    sender_id text not null,
    text text not null,
    metadata text,
    reply_to_id blob,
    answers integer,
    function_calls text,
    is_truncated integer not null,
    turn_id blob,
    created_at integer not null,
    primary key (workspace_id, conversation_id, position)
) strict;
create unique index messages_by_id on messages (workspace_id, id);

create table turns (
    workspace_id blob not null,
    id blob not null,
    conversation_id blob not null,
    position integer not null,
    message_id blob not null,
    api text not null,
    state text not null,
    owner blob,
    fence integer not null,
    attempts integer not null,
    takeovers integer not null,
    not_before integer not null,
    admitted_at integer not null,
    first_started_at integer,
    deadline_at integer,
    price integer not null,
    assistant_id blob not null,
    assistant_version integer not null,
    idempotency_scope text,
    idempotency_key text,
    reason text,
    model_error text,
    reply_id blob,
    ended_at integer,
    primary key (workspace_id, id)
) strict;
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
    workspace_id blob not null,
    turn_id blob not null,
    step integer not null,
    position integer not null,
    conversation_id blob not null,
    attempt integer not null,
    started_at integer not null,
    finished_at integer,
    content text not null,
    result text,
    primary key (workspace_id, turn_id, step, position)
) strict;

create table bookings (
    workspace_id blob not null,
    calendar_id blob not null,
    id blob not null,
    call_id text not null,
    conversation_id blob not null,
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
    -- The turn that is about to create the resource. While it is set, this row is a hold and not yet a booking.
    held_by blob,
    primary key (workspace_id, calendar_id, id),
    unique (workspace_id, calendar_id, call_id)
) strict;
-- For a booking on a CalDAV server, only the server knows its current time.
create unique index bookings_live on bookings (workspace_id, calendar_id, starts_at)
    where cancelled_at is null and resource is null;
create index bookings_by_time on bookings (workspace_id, calendar_id, starts_at, id);

-- The directory of iCalendar feed addresses: maps a capability to its calendar.
create table calendar_links (
    id blob primary key not null,
    workspace_id blob not null,
    calendar_id blob not null,
    created_at integer not null,
    unique (workspace_id, calendar_id),
    foreign key (workspace_id, calendar_id) references calendars (workspace_id, id)
) strict;

create table ledger (
    workspace_id blob not null,
    number integer not null,
    kind text not null,
    amount integer not null,
    balance_after integer not null,
    turn_id blob,
    reference text,
    created_at integer not null,
    primary key (workspace_id, number)
) strict;
create unique index ledger_by_reference on ledger (workspace_id, reference) where reference is not null;

create table events (
    workspace_id blob not null,
    cursor integer not null,
    id blob not null,
    type text not null,
    conversation_id blob,
    body text not null,
    created_at integer not null,
    primary key (workspace_id, cursor)
) strict;
create unique index events_by_id on events (workspace_id, id);
-- The filters of the event feed; a page is a short range of one of these indexes.
create index events_by_type on events (workspace_id, type, cursor);
create index events_by_conversation on events (workspace_id, conversation_id, cursor)
    where conversation_id is not null;

-- Written under the workspace's lock, except `failing_since`. Archived endpoints receive no events; the sweeper
-- removes endpoints that the API deleted (archived, and not from a workspace file).
create table webhook_endpoints (
    workspace_id blob not null references workspaces (id),
    id blob not null,
    slug text,
    description text,
    url text not null,
    types text not null,
    secret text not null,
    previous_secret text,
    previous_secret_until integer,
    enabled integer not null,
    disabled_reason text,
    failing_since integer,
    from_file integer not null,
    archived_at integer,
    created_at integer not null,
    updated_at integer not null,
    primary key (workspace_id, id),
    unique (workspace_id, slug)
) strict;
create index webhook_endpoints_archived on webhook_endpoints (archived_at) where archived_at is not null;

create table deliveries (
    workspace_id blob not null,
    endpoint_id blob not null,
    cursor integer not null,
    id blob not null,
    conversation_id blob,
    state text not null,
    owner blob,
    fence integer not null,
    attempts integer not null,
    -- Attempts of earlier rounds: a resend restarts the schedule but continues the count.
    attempts_before integer not null,
    -- Resent on request; the delivery says so.
    replay integer not null,
    not_before integer not null,
    created_at integer not null,
    ended_at integer,
    primary key (workspace_id, endpoint_id, cursor)
) strict;
create unique index deliveries_by_id on deliveries (workspace_id, id);
create index deliveries_failed on deliveries (workspace_id, endpoint_id, cursor) where state = 'failed';
create index deliveries_to_claim on deliveries (workspace_id, endpoint_id, not_before, cursor) where state = 'queued';
create index deliveries_in_order on deliveries (workspace_id, endpoint_id, conversation_id, cursor)
    where state in ('queued', 'running');
create index deliveries_owned on deliveries (owner) where state = 'running';

create table attempts (
    workspace_id blob not null,
    endpoint_id blob not null,
    cursor integer not null,
    number integer not null,
    started_at integer not null,
    finished_at integer,
    status integer,
    outcome text,
    excerpt text,
    primary key (workspace_id, endpoint_id, cursor, number)
) strict;

create table idempotency (
    workspace_id blob not null,
    scope text not null,
    key text not null,
    fingerprint blob not null,
    turn_id blob,
    status integer,
    body text,
    code text,
    reason text,
    created_at integer not null,
    primary key (workspace_id, scope, key)
) strict;
create index idempotency_by_age on idempotency (created_at);

create table processes (
    id blob primary key not null,
    expires_at integer not null,
    started_at integer not null
) strict;

-- Turns that someone other than their owner ended; the owner polls this table and stops them.
create table cancellations (
    owner blob not null,
    turn_id blob not null,
    primary key (owner, turn_id)
) strict;
