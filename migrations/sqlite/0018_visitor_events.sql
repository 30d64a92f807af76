-- A visitor's rating of a message.
alter table messages add column rating text;
alter table messages add column rating_comment text;
-- When a person last typed in a conversation. A row counts for a few seconds, and is removed later.
create table typing (
    workspace_id blob not null,
    conversation_id blob not null,
    typed_at integer not null,
    primary key (workspace_id, conversation_id)
) strict;
-- Older binaries cannot read the event of a rating.
update schema_floor set oldest_binary = 4;
