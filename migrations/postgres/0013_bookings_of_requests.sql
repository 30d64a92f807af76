-- A booking that a request of the API makes need not belong to a conversation.
alter table bookings alter column conversation_id drop not null;
-- Older binaries cannot read a booking without a conversation.
update schema_floor set oldest_binary = 3;
