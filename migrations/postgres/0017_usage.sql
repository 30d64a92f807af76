-- The key that sent the message of a turn; null for a visitor without one.
alter table turns add column api_key_id uuid;
-- What each workspace has used in each quarter of an hour, so that the days of every time zone are sums of rows. Counted from events,
-- journal and ledger, after which it does not depend on them: it stays when they are removed.
create table usage_counts (
    workspace_id uuid not null,
    -- The start of the quarter.
    period bigint not null,
    -- Nil or empty where the figures belong to none: only model calls, tokens and tool calls belong to a model.
    assistant_id uuid not null,
    key_id uuid not null,
    connection text not null,
    model text not null,
    messages bigint not null,
    turns_completed bigint not null,
    turns_failed bigint not null,
    turns_discarded bigint not null,
    model_calls bigint not null,
    input_tokens bigint not null,
    cached_tokens bigint not null,
    output_tokens bigint not null,
    reasoning_tokens bigint not null,
    tool_calls bigint not null,
    charged bigint not null,
    refunded bigint not null,
    credited bigint not null,
    primary key (workspace_id, period, assistant_id, key_id, connection, model)
);
create index usage_counts_by_period on usage_counts (period);
-- The last event and the last ledger entry that are counted.
create table usage_positions (
    workspace_id uuid primary key not null,
    event_cursor bigint not null,
    ledger_number bigint not null
);
