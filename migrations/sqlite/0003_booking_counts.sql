-- For the bounds of a calendar: the bookings of a conversation, and those of a day.
create index bookings_of_conversation on bookings (workspace_id, calendar_id, conversation_id);
create index bookings_by_creation on bookings (workspace_id, calendar_id, created_at);
