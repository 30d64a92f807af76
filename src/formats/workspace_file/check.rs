//! Reads the sections of a file, and checks what spans them.

use std::collections::{HashMap, HashSet};

use uuid::Uuid;

use super::document::{Document, Entry, WorkspaceFileError};
use super::{
    EnvName, FileAssistant, FileConversation, FileEndpoint, FileTool, FileWorkspace, WorkspaceFile,
    calendars, knowledge_bases, tools, webhook_endpoints,
};
use crate::domain::assistant::AssistantVersion;
use crate::domain::conversation::ConversationKind;
use crate::domain::identity::MAX_SECRETS;
use crate::domain::invalid_field::{InvalidField, check_slug, check_text};
use crate::domain::money::Money;
use crate::domain::webhook_endpoint::MAX_ENDPOINTS;

const MAX_NAME: usize = 200;
pub(super) const SECTIONS: [&str; 7] = [
    "workspace",
    "assistants",
    "calendars",
    "knowledge_bases",
    "tools",
    "webhook_endpoints",
    "conversations",
];

pub(super) fn read(document: &Document<'_>) -> Result<WorkspaceFile, WorkspaceFileError> {
    let mut file = document.root();
    file.check_keys(&SECTIONS)?;
    let workspace: FileWorkspace = file.require("workspace")?;
    check_workspace(&workspace).map_err(|error| file.invalid(&error.within("workspace")))?;

    let (calendars, calendar_slugs) =
        read_section(&mut file, "calendars", calendars::read, |calendar| &calendar.slug)?;
    let (knowledge_bases, _) =
        read_section(&mut file, "knowledge_bases", knowledge_bases::read, |base| &base.slug)?;
    let read_tool = |entry: Entry<'_>| tools::read(entry, &calendar_slugs);
    let (tools, _) = read_section(&mut file, "tools", read_tool, |tool| &tool.slug)?;
    let mut ids = HashSet::new();
    let read_assistant = |mut entry: Entry<'_>| {
        let id = entry.take("id")?;
        if id.is_some_and(|id: Uuid| !ids.insert(id)) {
            return Err(entry.error("id", "another assistant has this id"));
        }
        let identity_secrets = take_identity_secrets(&mut entry)?;
        let version = entry.deserialize()?;
        check_assistant(&version, &tools).map_err(|error| entry.invalid(&error))?;
        Ok(FileAssistant { id, version, identity_secrets })
    };
    let (assistants, assistant_slugs) =
        read_section(&mut file, "assistants", read_assistant, |assistant| &assistant.version.slug)?;
    if let Some(slug) = &workspace.default_assistant {
        check_assistant_exists("workspace.default_assistant", slug, &assistant_slugs)
            .map_err(|error| file.invalid(&error))?;
    }
    let read_endpoint = |entry: Entry<'_>| {
        let endpoint: FileEndpoint = entry.deserialize()?;
        webhook_endpoints::check(&endpoint).map_err(|error| entry.invalid(&error))?;
        Ok(endpoint)
    };
    let (webhook_endpoints, _) =
        read_section(&mut file, "webhook_endpoints", read_endpoint, |endpoint| &endpoint.slug)?;
    if webhook_endpoints.len() > MAX_ENDPOINTS {
        let problem = format_args!("more than {MAX_ENDPOINTS} webhook endpoints");
        return Err(document.root().error(&format!("webhook_endpoints[{MAX_ENDPOINTS}]"), problem));
    }
    let mut links = HashSet::new();
    let mut conversations = Vec::new();
    for entry in file.take_entries("conversations")? {
        let conversation: FileConversation = entry.deserialize()?;
        if !links.insert(conversation.link) {
            return Err(entry.error("id", "another conversation has this id"));
        }
        check_conversation(&conversation, &assistant_slugs).map_err(|error| entry.invalid(&error))?;
        conversations.push(conversation);
    }
    Ok(WorkspaceFile {
        workspace,
        assistants,
        calendars,
        knowledge_bases,
        tools,
        webhook_endpoints,
        conversations,
    })
}

/// Reads a section, whose entries have different slugs; returns the slugs, too.
fn read_section<'d, T>(
    file: &mut Entry<'d>,
    key: &str,
    mut read: impl FnMut(Entry<'d>) -> Result<T, WorkspaceFileError>,
    slug: impl Fn(&T) -> &String,
) -> Result<(Vec<T>, HashSet<String>), WorkspaceFileError> {
    let (mut items, mut slugs) = (Vec::new(), HashSet::new());
    for entry in file.take_entries(key)? {
        let item = read(entry.clone())?;
        check_slug(slug(&item)).map_err(|error| entry.invalid(&error))?;
        if !slugs.insert(slug(&item).clone()) {
            return Err(entry.error("slug", format_args!("\"{}\" is there twice", slug(&item))));
        }
        items.push(item);
    }
    Ok((items, slugs))
}

fn check_workspace(workspace: &FileWorkspace) -> Result<(), InvalidField> {
    check_slug(&workspace.slug)?;
    check_text("name", &workspace.name, MAX_NAME)?;
    let pricing = &workspace.pricing;
    for (key, amount) in [
        ("balance", Some(workspace.balance)),
        ("balance_low", workspace.balance_low),
        ("pricing.widget", Some(pricing.widget)),
        ("pricing.test", Some(pricing.test)),
        ("pricing.api", Some(pricing.api)),
    ] {
        if amount.is_some_and(|amount| amount < Money::ZERO) {
            return Err(InvalidField::new(key, "an amount below zero"));
        }
    }
    Ok(())
}

fn check_assistant(assistant: &AssistantVersion<String>, tools: &[FileTool]) -> Result<(), InvalidField> {
    assistant.check()?;
    check_tool_references(&assistant.tools, tools)
}

fn take_identity_secrets(assistant: &mut Entry<'_>) -> Result<Vec<EnvName>, WorkspaceFileError> {
    let secrets: Vec<EnvName> = assistant.take("identity_secrets")?.unwrap_or_default();
    if secrets.len() > MAX_SECRETS {
        return Err(assistant.error("identity_secrets", format_args!("more than {MAX_SECRETS} secrets")));
    }
    Ok(secrets)
}

fn check_tool_references(slugs: &[String], tools: &[FileTool]) -> Result<(), InvalidField> {
    let mut names: HashMap<&str, &str> = HashMap::new();
    for (at, slug) in slugs.iter().enumerate() {
        let error = |problem: String| Err(InvalidField::new(format_args!("tools[{at}]"), problem));
        let Some(tool) = tools.iter().find(|tool| tool.slug == *slug) else {
            return error(format!("there is no tool \"{slug}\""));
        };
        // An MCP server names its tools when it lists them.
        if tool.config.mcp().is_some() {
            continue;
        }
        let name = &tool.spec.name;
        if let Some(other) = names.insert(name, slug) {
            return error(format!(
                "\"{other}\" and \"{slug}\" are both called {name}; the names must differ"
            ));
        }
    }
    Ok(())
}

fn check_conversation(
    conversation: &FileConversation,
    assistants: &HashSet<String>,
) -> Result<(), InvalidField> {
    check_assistant_exists("assistant", &conversation.assistant, assistants)?;
    if conversation.kind == ConversationKind::Api {
        return Err(InvalidField::new("type", "expected \"widget\" or \"test\""));
    }
    Ok(())
}

fn check_assistant_exists(field: &str, slug: &str, known: &HashSet<String>) -> Result<(), InvalidField> {
    if known.contains(slug) {
        return Ok(());
    }
    Err(InvalidField::new(field, format_args!("there is no assistant \"{slug}\"")))
}
