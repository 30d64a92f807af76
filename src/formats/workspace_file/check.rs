//! The checks of a file that span its sections, and those of the workspace, assistants and conversations.

use std::collections::{HashMap, HashSet};

use url::Url;

use super::document::{Document, WorkspaceFileError};
use super::raw::FileIn;
use super::{
    FileAssistant, FileConversation, FileTool, WorkspaceFile, calendars, knowledge_bases, tools,
    webhook_endpoints,
};
use crate::domain::assistant::MAX_TOOLS;
use crate::domain::conversation::ConversationKind;
use crate::domain::money::Money;

const MAX_SLUG: usize = 64;
const MAX_NAME: usize = 200;
const MAX_PROMPT: usize = 256 * 1024;
const MAX_FIRST_MESSAGE: usize = 32 * 1024;
/// Model parameters that the server sets itself.
const RESERVED_PARAMETERS: [&str; 5] = ["model", "messages", "tools", "stream", "n"];

pub(super) fn check(file: FileIn, document: &Document<'_>) -> Result<WorkspaceFile, WorkspaceFileError> {
    let workspace = file.workspace;
    check_slug(document, "workspace", &workspace.slug)?;
    check_text(document, "workspace.name", &workspace.name, MAX_NAME)?;
    check_amount(document, "workspace.balance", Some(workspace.balance))?;
    check_amount(document, "workspace.balance_low", workspace.balance_low)?;
    for (key, price) in [
        ("widget", workspace.pricing.widget),
        ("test", workspace.pricing.test),
        ("api", workspace.pricing.api),
    ] {
        check_amount(document, &format!("workspace.pricing.{key}"), Some(price))?;
    }

    let mut slugs = Slugs::new(document, "calendars");
    let mut checked_calendars = Vec::new();
    for (index, calendar) in file.calendars.into_iter().enumerate() {
        slugs.add(index, &calendar.slug)?;
        checked_calendars.push(calendars::check(document, index, calendar)?);
    }
    let calendar_slugs = slugs.known;
    let knowledge_bases = knowledge_bases::check(document, file.knowledge_bases)?;

    let mut slugs = Slugs::new(document, "tools");
    let mut checked_tools = Vec::new();
    for (index, tool) in file.tools.into_iter().enumerate() {
        slugs.add(index, &tool.slug)?;
        checked_tools.push(tools::check(document, index, tool, &calendar_slugs)?);
    }

    let mut slugs = Slugs::new(document, "assistants");
    let mut ids = HashSet::new();
    for (index, assistant) in file.assistants.iter().enumerate() {
        slugs.add(index, &assistant.slug)?;
        if assistant.id.is_some_and(|id| !ids.insert(id)) {
            return Err(document.error(&format!("assistants[{index}].id"), "another assistant has this id"));
        }
        check_assistant(document, index, assistant, &checked_tools)?;
    }
    let assistant_slugs = slugs.known;
    if let Some(slug) = &workspace.default_assistant {
        check_assistant_exists(document, "workspace.default_assistant", slug, &assistant_slugs)?;
    }
    webhook_endpoints::check(document, &file.webhook_endpoints)?;
    check_conversations(document, &file.conversations, &assistant_slugs)?;
    Ok(WorkspaceFile {
        workspace,
        assistants: file.assistants,
        calendars: checked_calendars,
        knowledge_bases,
        tools: checked_tools,
        webhook_endpoints: file.webhook_endpoints,
        conversations: file.conversations,
    })
}

fn check_amount(
    document: &Document<'_>,
    path: &str,
    amount: Option<Money>,
) -> Result<(), WorkspaceFileError> {
    match amount {
        Some(amount) if amount < Money::ZERO => Err(document.error(path, "an amount below zero")),
        _ => Ok(()),
    }
}

fn check_assistant(
    document: &Document<'_>,
    index: usize,
    assistant: &FileAssistant,
    tools: &[FileTool],
) -> Result<(), WorkspaceFileError> {
    let path = |key: &str| format!("assistants[{index}].{key}");
    check_text(document, &path("name"), &assistant.name, MAX_NAME)?;
    check_text(document, &path("system_prompt"), &assistant.system_prompt, MAX_PROMPT)?;
    if let Some(text) = &assistant.first_message {
        check_text(document, &path("first_message"), text, MAX_FIRST_MESSAGE)?;
    }
    if let Some(model) = &assistant.model {
        check_text(document, &path("model"), model, MAX_NAME)?;
    }
    if let Some(key) = RESERVED_PARAMETERS.iter().find(|key| assistant.parameters.contains_key(**key)) {
        return Err(document.error(&path(&format!("parameters.{key}")), "set by the server itself"));
    }
    for (at, origin) in assistant.allowed_origins.iter().enumerate() {
        if !is_origin(origin) {
            let problem = format!("\"{origin}\" is not an origin such as \"https://www.example.com\"");
            return Err(document.error(&path(&format!("allowed_origins[{at}]")), problem));
        }
    }
    check_tool_references(document, &path("tools"), &assistant.tools, tools)
}

fn check_tool_references(
    document: &Document<'_>,
    path: &str,
    slugs: &[String],
    tools: &[FileTool],
) -> Result<(), WorkspaceFileError> {
    if slugs.len() > MAX_TOOLS {
        return Err(document.error(path, format_args!("more than {MAX_TOOLS} tools")));
    }
    let mut names: HashMap<&str, &str> = HashMap::new();
    for (at, slug) in slugs.iter().enumerate() {
        let path = format!("{path}[{at}]");
        let Some(tool) = tools.iter().find(|tool| tool.slug == *slug) else {
            return Err(document.error(&path, format_args!("there is no tool \"{slug}\"")));
        };
        // An MCP server names its tools when it lists them.
        if tool.config.mcp().is_some() {
            continue;
        }
        if let Some(other) = names.insert(&tool.name, slug) {
            let name = &tool.name;
            let problem = format!("\"{other}\" and \"{slug}\" are both called {name}; the names must differ");
            return Err(document.error(&path, problem));
        }
    }
    Ok(())
}

fn check_conversations(
    document: &Document<'_>,
    conversations: &[FileConversation],
    assistants: &HashSet<String>,
) -> Result<(), WorkspaceFileError> {
    let mut known = HashSet::new();
    for (index, conversation) in conversations.iter().enumerate() {
        let path = |key: &str| format!("conversations[{index}].{key}");
        if !known.insert(conversation.link) {
            return Err(document.error(&path("id"), "another conversation has this id"));
        }
        check_assistant_exists(document, &path("assistant"), &conversation.assistant, assistants)?;
        if conversation.kind == ConversationKind::Api {
            return Err(document.error(&path("type"), "expected \"widget\" or \"test\""));
        }
    }
    Ok(())
}

/// The slugs of one section, which are unique.
pub(super) struct Slugs<'d> {
    document: &'d Document<'d>,
    section: &'static str,
    known: HashSet<String>,
}

impl<'d> Slugs<'d> {
    pub(super) fn new(document: &'d Document<'d>, section: &'static str) -> Self {
        Self { document, section, known: HashSet::new() }
    }

    pub(super) fn add(&mut self, index: usize, slug: &str) -> Result<(), WorkspaceFileError> {
        let path = format!("{}[{index}]", self.section);
        check_slug(self.document, &path, slug)?;
        if self.known.insert(slug.to_owned()) {
            return Ok(());
        }
        Err(self.document.error(&format!("{path}.slug"), format_args!("\"{slug}\" is there twice")))
    }
}

pub(super) fn check_slug(document: &Document<'_>, of: &str, slug: &str) -> Result<(), WorkspaceFileError> {
    let is_allowed =
        |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'-' | b'_');
    if !slug.is_empty() && slug.len() <= MAX_SLUG && slug.bytes().all(is_allowed) {
        return Ok(());
    }
    let problem = format!(
        "\"{slug}\" is not a slug: 1 to {MAX_SLUG} lower-case letters, digits, hyphens or underscores"
    );
    Err(document.error(&format!("{of}.slug"), problem))
}

fn check_assistant_exists(
    document: &Document<'_>,
    path: &str,
    slug: &str,
    known: &HashSet<String>,
) -> Result<(), WorkspaceFileError> {
    if known.contains(slug) {
        return Ok(());
    }
    Err(document.error(path, format_args!("there is no assistant \"{slug}\"")))
}

/// A text that is not blank, of at most `max_bytes`.
pub(super) fn check_text(
    document: &Document<'_>,
    path: &str,
    text: &str,
    max_bytes: usize,
) -> Result<(), WorkspaceFileError> {
    if text.trim().is_empty() {
        return Err(document.error(path, "empty"));
    }
    if text.len() > max_bytes {
        return Err(document.error(path, format_args!("longer than {max_bytes} bytes")));
    }
    Ok(())
}

/// Whether a browser would send this text as `Origin`.
fn is_origin(text: &str) -> bool {
    let Ok(url) = Url::parse(text) else { return false };
    matches!(url.scheme(), "http" | "https") && url.origin().ascii_serialization() == text
}
