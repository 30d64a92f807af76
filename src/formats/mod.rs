//! Bounded parsers and writers of foreign text: the workspace file, configuration in requests, iCalendar, and documents.

pub mod documents;
pub mod icalendar;
pub mod json_config;
pub mod workspace_file;
