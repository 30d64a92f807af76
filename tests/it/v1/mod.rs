//! The platform API, as its contract and docs describe it.

mod calendar_files;
mod calendars;
mod conversation_creation;
mod conversation_export;
mod conversation_lists;
mod conversation_updates;
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
mod webhook_deliveries;
mod webhook_endpoints;
