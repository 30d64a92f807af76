//! The platform door, as its contract's page and its users have it.

mod calendar_files;
mod calendars;
mod conversation_creation;
mod conversation_updates;
mod embeddings;
mod events;
mod hostile_documents;
mod knowledge_bases;
mod messages;
mod reads;
pub mod tools;
mod traces;
mod turns;
mod webhook_deliveries;
mod webhook_endpoints;
