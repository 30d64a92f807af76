-- What a next version may do while this one serves: new tables, and new columns that are nullable or have a default.
create table reminders (
    workspace_id blob not null,
    id blob not null,
    remind_at integer not null,
    primary key (workspace_id, id)
) strict, without rowid;
alter table workspace_state add column reminders integer not null default 0;
alter table conversations add column language text;
alter table messages add column language text;
alter table turns add column reminder_id blob;
alter table events add column language text;
create index conversations_by_language on conversations (workspace_id, language) where language is not null;
