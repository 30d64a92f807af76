-- Whether a client stopped the reply, and the texts that the model wrote before it, beside its calls (a JSON array).
alter table messages add column is_stopped integer not null default 0;
alter table messages add column earlier_texts text;
-- Whether the owner is asked to stop a turn that has not ended, and to end it itself.
alter table cancellations add column is_stop integer not null default 0;
-- Whether a client has asked to stop the turn while it ran: a process that takes it over does not run it again.
alter table turns add column is_stop_requested integer not null default 0;
-- The process that streams the reply, if others share the database. No other claims the turn in the first two seconds after it is due.
alter table turns add column stream_process blob;
