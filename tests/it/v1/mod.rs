//! The platform API, as its contract and docs describe it.

mod audit_log;
mod bookings;
mod calendar_files;
mod calendar_setup;
mod calendars;
mod conversation_creation;
mod conversation_updates;
mod document_forms;
mod embeddings;
mod events;
mod hostile_documents;
mod knowledge_bases;
mod limits;
mod messages;
mod pdf_text;
mod reads;
pub mod tools;
mod traces;
mod turns;
mod usage;
mod webhook_deliveries;
mod webhook_endpoints;
