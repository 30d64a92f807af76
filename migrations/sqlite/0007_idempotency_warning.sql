-- The header `Rejoinder-Warning` of a response that is sent again.
alter table idempotency add column warning text;
