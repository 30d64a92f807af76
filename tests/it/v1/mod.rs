//! The platform API, as its contract and docs describe it.

mod calendar_files;
mod calendars;
mod conversation_creation;
mod conversation_updates;
mod embeddings;
mod erasures;
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
mod webhook_deliveries;
mod webhook_endpoints;
