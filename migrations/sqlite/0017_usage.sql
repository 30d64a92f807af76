-- The key that sent the message of a turn; null for a visitor without one.
alter table turns add column api_key_id blob;
-- What each workspace has used in each quarter of an hour, so that the days of every time zone are sums of rows. Counted from events,
-- journal and ledger, after which it does not depend on them: it stays when they are removed.
create table usage_counts (
    workspace_id blob not null,
    -- The start of the quarter.
    period integer not null,
    -- Nil or empty where the figures belong to none: only model calls, tokens and tool calls belong to a model.
    assistant_id blob not null,
    key_id blob not null,
    connection text not null,
    model text not null,
    messages integer not null,
    turns_completed integer not null,
    turns_failed integer not null,
    turns_discarded integer not null,
    model_calls integer not null,
    input_tokens integer not null,
    cached_tokens integer not null,
    output_tokens integer not null,
    reasoning_tokens integer not null,
    tool_calls integer not null,
    charged integer not null,
    refunded integer not null,
    credited integer not null,
    primary key (workspace_id, period, assistant_id, key_id, connection, model)
) strict;
create index usage_counts_by_period on usage_counts (period);
-- The last event and the last ledger entry that are counted.
create table usage_positions (
    workspace_id blob primary key not null,
    event_cursor integer not null,
    ledger_number integer not null
) strict;
