//! The platform API, as its contract and docs describe it.

mod audit_log;
mod bookings;
mod calendar_files;
mod calendar_setup;
mod calendars;
mod conversation_creation;
mod conversation_export;
mod conversation_lists;
mod conversation_updates;
mod document_forms;
mod embeddings;
mod events;
mod hostile_documents;
mod knowledge_bases;
mod limits;
mod message_search;
mod messages;
mod pdf_text;
mod reads;
pub mod tools;
mod traces;
mod turn_retries;
mod turns;
mod usage;
mod webhook_deliveries;
mod webhook_endpoints;
