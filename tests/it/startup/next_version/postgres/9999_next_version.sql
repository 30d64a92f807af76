-- What a next version may do while this one serves: new tables, and new columns that are nullable or have a default.
create table reminders (
    workspace_id uuid not null,
    id uuid not null,
    remind_at bigint not null,
    primary key (workspace_id, id)
);
alter table workspace_state add column reminders bigint not null default 0;
alter table conversations add column language text;
alter table messages add column language text;
alter table turns add column reminder_id uuid;
alter table events add column language text;
create index conversations_by_language on conversations (workspace_id, language) where language is not null;
