//! The platform API, as its contract and docs describe it.

mod access;
mod audit;
mod calendar_files;
mod calendars;
mod conversation_creation;
mod conversation_updates;
mod embeddings;
mod events;
mod hostile_documents;
mod keys;
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
