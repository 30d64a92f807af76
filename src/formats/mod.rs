//! Bounded parsers and writers of foreign text: the workspace file, iCalendar, and documents.

pub mod documents;
pub mod icalendar;
pub mod workspace_file;
