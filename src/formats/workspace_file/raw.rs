//! The file as it is written, key by key. An unknown key is an error.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::{Map, Value};

use super::{EnvName, FileAssistant, FileCaldav, FileConversation, FileEndpoint, FileWorkspace};
use crate::domain::assistant::HeaderText;
use crate::domain::calendar::HoursIn;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct FileIn {
    pub workspace: FileWorkspace,
    #[serde(default)]
    pub assistants: Vec<FileAssistant>,
    #[serde(default)]
    pub calendars: Vec<CalendarIn>,
    #[serde(default)]
    pub knowledge_bases: Vec<KnowledgeBaseIn>,
    #[serde(default)]
    pub tools: Vec<ToolIn>,
    #[serde(default)]
    pub webhook_endpoints: Vec<FileEndpoint>,
    #[serde(default)]
    pub conversations: Vec<FileConversation>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct CalendarIn {
    pub slug: String,
    pub time_zone: String,
    pub slot_minutes: Option<u32>,
    pub buffer_minutes: Option<u32>,
    pub minimum_notice_minutes: Option<u32>,
    pub horizon_days: Option<u32>,
    #[serde(default)]
    pub hours: HoursIn,
    #[serde(default)]
    pub holidays: Vec<String>,
    pub caldav: Option<FileCaldav>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, expecting = "struct BaseIn")]
pub(super) struct KnowledgeBaseIn {
    pub slug: String,
    pub name: Option<String>,
    pub language: Option<String>,
    #[serde(default)]
    pub documents: Vec<DocumentIn>,
}

/// A document, with a text or a path.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct DocumentIn {
    pub slug: Option<String>,
    pub title: String,
    pub url: Option<String>,
    pub text: Option<String>,
    pub path: Option<String>,
}

/// A tool of any kind; which keys its kind takes is checked afterwards.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ToolIn {
    pub slug: String,
    pub kind: String,
    pub name: Option<String>,
    pub description: Option<String>,
    pub calendar: Option<String>,
    pub knowledge_base: Option<String>,
    pub method: Option<String>,
    pub url: Option<String>,
    pub headers: Option<BTreeMap<String, HeaderText<EnvName>>>,
    pub parameters: Option<Value>,
    pub body: Option<String>,
    pub form: Option<bool>,
    #[serde(rename = "static")]
    pub static_fields: Option<Map<String, Value>>,
    pub timeout: Option<String>,
    pub secret: Option<EnvName>,
    pub secrets: Option<BTreeMap<String, EnvName>>,
    pub idempotent: Option<bool>,
    pub allow: Option<Vec<String>>,
}
