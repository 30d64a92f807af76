-- The keys with which stored secrets may be encrypted, each with a text that it sealed. The secrets of older versions name no key and
-- cannot be read: the record `former` refuses a start until the operator has accepted that.
create table seal_keys (
    key_id text primary key not null,
    sealed text not null
);
insert into seal_keys (key_id, sealed)
    select 'former', '' where exists (select 1 from webhook_endpoints)
        or exists (select 1 from tools where definition like '%"sealed":"%')
        or exists (select 1 from calendars where rules like '%"sealed":"%');
drop table seal_check;
-- Older binaries do not read the new form of secrets.
update schema_floor set oldest_binary = 2;
