//! From the file as written to a file that holds together.

use std::collections::{HashMap, HashSet};

use url::Url;

use super::document::{Document, WorkspaceFileError};
use super::raw::{AssistantIn, ConversationIn, FileIn, PricingIn};
use super::{
    FileAssistant, FileConversation, FileTool, FileToolConfig, WorkspaceFile, calendars, knowledge_bases,
    tools, webhook_endpoints,
};
use crate::domain::assistant::MAX_TOOLS;
use crate::domain::conversation::ConversationKind;
use crate::domain::ids::{AssistantId, WidgetUuid};
use crate::domain::money::Money;
use crate::domain::workspace::Pricing;

const MAX_SLUG: usize = 64;
const MAX_NAME: usize = 200;
const MAX_PROMPT: usize = 256 * 1024;
const MAX_FIRST_MESSAGE: usize = 32 * 1024;
/// Parameters of the model that are the server's to set.
const RESERVED_PARAMETERS: [&str; 5] = ["model", "messages", "tools", "stream", "n"];

pub(super) fn check(file: FileIn, document: &Document<'_>) -> Result<WorkspaceFile, WorkspaceFileError> {
    let workspace = file.workspace;
    check_slug(document, "workspace", &workspace.slug)?;
    check_text(document, "workspace.name", &workspace.name, MAX_NAME)?;
    check_amount(document, "workspace.balance", Some(workspace.balance))?;
    check_amount(document, "workspace.balance_low", workspace.balance_low)?;
    let pricing = check_pricing(document, &workspace.pricing)?;

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
    let mut assistants = Vec::new();
    for (index, assistant) in file.assistants.into_iter().enumerate() {
        slugs.add(index, &assistant.slug)?;
        if assistant.id.is_some_and(|id| !ids.insert(id)) {
            return Err(document.error(&format!("assistants[{index}].id"), "another assistant has this id"));
        }
        assistants.push(check_assistant(document, index, assistant, &checked_tools)?);
    }
    let assistant_slugs = slugs.known;
    if let Some(slug) = &workspace.default_assistant {
        check_assistant_exists(document, "workspace.default_assistant", slug, &assistant_slugs)?;
    }
    Ok(WorkspaceFile {
        slug: workspace.slug,
        name: workspace.name,
        opening_credit: workspace.balance,
        auto_create_conversations: workspace.auto_create_conversations,
        balance_low: workspace.balance_low,
        default_assistant: workspace.default_assistant,
        pricing,
        allow_hosts: workspace.allow_hosts,
        webhook_endpoints: webhook_endpoints::check(document, file.webhook_endpoints)?,
        conversations: check_conversations(document, file.conversations, &assistant_slugs)?,
        assistants,
        calendars: checked_calendars,
        knowledge_bases,
        tools: checked_tools,
    })
}

fn check_pricing(document: &Document<'_>, raw: &PricingIn) -> Result<Pricing, WorkspaceFileError> {
    check_amount(document, "workspace.pricing.widget", raw.widget)?;
    check_amount(document, "workspace.pricing.test", raw.test)?;
    check_amount(document, "workspace.pricing.api", raw.api)?;
    let defaults = Pricing::default();
    Ok(Pricing {
        widget: raw.widget.unwrap_or(defaults.widget),
        test: raw.test.unwrap_or(defaults.test),
        api: raw.api.unwrap_or(defaults.api),
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
    assistant: AssistantIn,
    tools: &[FileTool],
) -> Result<FileAssistant, WorkspaceFileError> {
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
    check_tool_references(document, &path("tools"), &assistant.tools, tools)?;
    Ok(FileAssistant {
        slug: assistant.slug,
        id: assistant.id.map(AssistantId),
        name: assistant.name,
        system_prompt: assistant.system_prompt,
        first_message: assistant.first_message,
        model: assistant.model,
        fallbacks: assistant.fallbacks,
        parameters: assistant.parameters,
        pause_on_agent_message: assistant.pause_on_agent_message,
        variables: assistant.variables,
        tools: assistant.tools,
        allowed_origins: assistant.allowed_origins,
    })
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
        // The names of a server's tools are known when it has been asked.
        if matches!(tool.config, FileToolConfig::Mcp(_)) {
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
    raw: Vec<ConversationIn>,
    assistants: &HashSet<String>,
) -> Result<Vec<FileConversation>, WorkspaceFileError> {
    let mut known = HashSet::new();
    let mut checked = Vec::new();
    for (index, conversation) in raw.into_iter().enumerate() {
        let path = |key: &str| format!("conversations[{index}].{key}");
        if !known.insert(conversation.id) {
            return Err(document.error(&path("id"), "another conversation has this id"));
        }
        check_assistant_exists(document, &path("assistant"), &conversation.assistant, assistants)?;
        if conversation.kind == ConversationKind::Api {
            return Err(document.error(&path("type"), "expected \"widget\" or \"test\""));
        }
        checked.push(FileConversation {
            link: WidgetUuid(conversation.id),
            assistant: conversation.assistant,
            kind: conversation.kind,
        });
    }
    Ok(checked)
}

/// The slugs of one section, each of which may stand there once.
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
