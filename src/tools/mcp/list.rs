//! Lists the tools of a server.

use std::collections::{BTreeSet, HashSet};

use rmcp::model::{PaginatedRequestParams, Tool};
use serde_json::Value;

use super::ServerConnection;
use super::error::McpError;
use super::sessions::{self, Session};
use crate::domain::chat::ToolSpec;
use crate::domain::chat::{clean_text, clean_value};
use crate::domain::tool::MAX_TOOLS;
use crate::tools::schema::ArgumentSchema;
use crate::tools::secrets::Secrets;

/// Limits of the whole list: tools, pages, bytes.
const MAX_LISTED_TOOLS: usize = 2_000;
const MAX_PAGES: usize = 50;
const MAX_BYTES: usize = 4 * 1024 * 1024;
/// The longest page cursor, in bytes.
const MAX_CURSOR: usize = 1024;
const MAX_NAME: usize = 64;
/// How many names an error shows.
const MAX_SHOWN: usize = 10;
/// In characters; longer texts are truncated.
const MAX_DESCRIPTION: usize = 4_096;
/// In bytes.
const MAX_SCHEMA: usize = 64 * 1024;
/// The size limit of a stored list, in bytes.
const MAX_LISTING_BYTES: usize = 1024 * 1024;

/// The usable tools of a server, without any secret that it was sent.
#[derive(Clone, Debug)]
pub struct Listing {
    /// At least one, sorted by name.
    pub tools: Vec<ToolSpec>,
    /// Allowed tools that the server does not list.
    pub missing: Vec<String>,
    /// The names of all tools that the server lists and a model can call, allowed or not; sorted.
    pub listed: Vec<String>,
    /// Omitted tools, and why.
    pub warnings: Vec<String>,
}

/// The error of listing tools, for the administrator who configures the server. Contains no secret.
#[derive(Clone, Debug, thiserror::Error)]
pub enum ListError {
    /// The server could not be reached; its last list may still be valid.
    #[error("{0}")]
    Unavailable(String),
    /// The server refused, or its list is unusable.
    #[error("{0}")]
    Refused(String),
    /// The server does not list an allowed tool. It lists these.
    #[error("it has no tool {name:?}{}", describe_names(listed))]
    NoSuchTool { name: String, listed: Vec<String> },
}

impl From<String> for ListError {
    fn from(problem: String) -> Self {
        Self::Refused(problem)
    }
}

fn describe_names(names: &[String]) -> String {
    let shown = names.iter().take(MAX_SHOWN).map(String::as_str).collect::<Vec<_>>().join(", ");
    match names.len() {
        0 => String::new(),
        count if count > MAX_SHOWN => format!("; it has: {shown} and {} more", count - MAX_SHOWN),
        _ => format!("; it has: {shown}"),
    }
}

/// Lists those tools of a server that are in `allow`; without it, all tools that a model can call.
pub async fn list(
    connection: ServerConnection,
    allow: Option<&[String]>,
    secrets: &Secrets<'_>,
) -> Result<Listing, ListError> {
    let timeout = connection.timeout;
    let listing = async {
        let session = sessions::open(connection).await?;
        let listed = fetch_tools(&session).await;
        Ok((session, listed?))
    };
    let listed = tokio::time::timeout(timeout, listing).await.unwrap_or(Err(McpError::Timeout(timeout)));
    let (session, tools) = listed.map_err(|error| {
        let message = format!("it cannot be listed: {}", error.administrator_message(secrets));
        if error.is_unavailable() { ListError::Unavailable(message) } else { ListError::Refused(message) }
    })?;
    sessions::close(session).await;
    let selection = select(tools, allow, secrets).map_err(ListError::Refused)?;
    let allow = allow.map(<[String]>::to_vec);
    // Compiling untrusted schemas may take a while.
    let compiling = tokio::task::spawn_blocking(move || compile(selection, allow.as_deref()));
    compiling.await.unwrap_or_else(|_| Err(ListError::Refused("its schemas could not be read".to_owned())))
}

async fn fetch_tools(session: &Session) -> Result<Vec<Tool>, McpError> {
    let mut tools = Vec::new();
    let mut cursors = HashSet::new();
    let mut cursor = None;
    let mut bytes = 0;
    for _ in 0..MAX_PAGES {
        let params = PaginatedRequestParams::default().with_cursor(cursor);
        let page = session.list_tools(Some(params)).await?;
        bytes += serde_json::to_vec(&page.tools).map_or(MAX_BYTES, |text| text.len());
        tools.extend(page.tools);
        if tools.len() > MAX_LISTED_TOOLS {
            return Err(too_large(format_args!("more than {MAX_LISTED_TOOLS} tools")));
        }
        if bytes > MAX_BYTES {
            return Err(too_large(format_args!("more than {MAX_BYTES} bytes")));
        }
        match page.next_cursor {
            Some(next) if next.len() > MAX_CURSOR => {
                return Err(too_large(format_args!("pages by a cursor of more than {MAX_CURSOR} bytes")));
            }
            // A repeated cursor would loop forever.
            Some(next) if cursors.insert(next.clone()) => cursor = Some(next),
            Some(_) | None => return Ok(tools),
        }
    }
    Err(too_large(format_args!("more than {MAX_PAGES} pages")))
}

fn too_large(what: std::fmt::Arguments<'_>) -> McpError {
    McpError::TooLarge(format!("it lists {what}"))
}

/// The selected tools of a list.
struct Selection {
    tools: Vec<ToolSpec>,
    listed: Vec<String>,
    warnings: Vec<String>,
}

/// Selects the usable tools, masked and counted. A problem with a named tool is an error; another tool is omitted
/// with a warning.
fn select(listed: Vec<Tool>, allow: Option<&[String]>, secrets: &Secrets<'_>) -> Result<Selection, String> {
    let mut tools: Vec<ToolSpec> = Vec::new();
    let mut warnings = Vec::new();
    let is_callable = |name: &&str| is_callable(name) && secrets.redact_text((*name).to_owned()) == *name;
    let names: BTreeSet<&str> = listed.iter().map(|tool| tool.name.as_ref()).filter(is_callable).collect();
    let names = names.into_iter().map(str::to_owned).collect();
    for tool in listed {
        if allow.is_some_and(|allow| !allow.iter().any(|name| *name == *tool.name)) {
            continue;
        }
        let name = secrets.redact_text(tool.name.to_string());
        match validate_tool(tool, &name, &tools, secrets) {
            Ok(tool) => tools.push(tool),
            Err(problem) => exclude(&name, &problem, allow, &mut warnings)?,
        }
        if tools.len() > MAX_TOOLS {
            return Err(format!("it has more than {MAX_TOOLS} tools: list the ones to use in `allow`"));
        }
    }
    let size: usize =
        tools.iter().map(|tool| tool.description.len() + tool.parameters.to_string().len()).sum();
    if size > MAX_LISTING_BYTES {
        return Err(format!(
            "its list is longer than {MAX_LISTING_BYTES} bytes: list the tools to use in `allow`"
        ));
    }
    // Sorted, so that another order is not a change of the list.
    tools.sort_by(|one, other| one.name.cmp(&other.name));
    Ok(Selection { tools, listed: names, warnings })
}

fn exclude(
    name: &str,
    problem: &str,
    allow: Option<&[String]>,
    warnings: &mut Vec<String>,
) -> Result<(), String> {
    let name = truncate_chars(name, MAX_NAME);
    if allow.is_some() {
        return Err(format!("its tool {name:?}: {problem}"));
    }
    warnings.push(format!("its tool {name:?} is left out: {problem}"));
    Ok(())
}

/// Whether a model takes this name.
fn is_callable(name: &str) -> bool {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-');
    (1..=MAX_NAME).contains(&name.len()) && name.bytes().all(fits)
}

fn validate_tool(
    tool: Tool,
    redacted_name: &str,
    others: &[ToolSpec],
    secrets: &Secrets<'_>,
) -> Result<ToolSpec, String> {
    if !is_callable(&tool.name) {
        return Err(format!("a model takes names of 1 to {MAX_NAME} of A-Z a-z 0-9 _ -"));
    }
    if redacted_name != tool.name {
        return Err("its name repeats a secret".to_owned());
    }
    if others.iter().any(|other| other.name == *tool.name) {
        return Err("it is listed twice".to_owned());
    }
    let parameters = Value::Object(tool.input_schema.as_ref().clone());
    if parameters.to_string().len() > MAX_SCHEMA {
        return Err(format!("its schema is longer than {MAX_SCHEMA} bytes"));
    }
    let description =
        clean_text(tool.description.or(tool.title.map(Into::into)).unwrap_or_default().into_owned());
    Ok(ToolSpec {
        name: tool.name.into_owned(),
        description: truncate_chars(&secrets.redact_text(description), MAX_DESCRIPTION),
        parameters: secrets.redact_value(clean_value(parameters)),
    })
}

/// Compiles the schemas and keeps the tools that can be called.
fn compile(selection: Selection, allow: Option<&[String]>) -> Result<Listing, ListError> {
    let Selection { tools, listed, mut warnings } = selection;
    let mut found: Vec<ToolSpec> = Vec::new();
    for tool in tools {
        match ArgumentSchema::compile(&tool.parameters) {
            Ok(_) => found.push(tool),
            Err(problem) => {
                exclude(&tool.name, &format!("its schema: {problem}"), allow, &mut warnings)?;
            }
        }
    }
    let is_missing = |name: &&String| !found.iter().any(|tool| tool.name == **name);
    let missing: Vec<String> = allow.into_iter().flatten().filter(is_missing).cloned().collect();
    if found.is_empty() {
        return Err(match missing.into_iter().next() {
            Some(name) => ListError::NoSuchTool { name, listed },
            None => ListError::Refused("it has no tool that a model can call".to_owned()),
        });
    }
    Ok(Listing { tools: found, missing, listed, warnings })
}

fn truncate_chars(text: &str, max: usize) -> String {
    match text.char_indices().nth(max) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// Selects and compiles, without secrets.
    fn select(listed: Vec<Tool>, allow: Option<&[String]>) -> Result<Listing, String> {
        let selection = super::select(listed, allow, &Secrets::new(None))?;
        compile(selection, allow).map_err(|error| error.to_string())
    }

    #[expect(clippy::needless_pass_by_value, reason = "a table of literals")]
    fn tool(name: &str, schema: Value) -> Tool {
        serde_json::from_value(json!({ "name": name, "description": "Does it", "inputSchema": schema }))
            .unwrap()
    }

    fn good(name: &str) -> Tool {
        tool(name, json!({ "type": "object", "properties": {} }))
    }

    fn names(listing: &Listing) -> Vec<&str> {
        listing.tools.iter().map(|tool| tool.name.as_str()).collect()
    }

    #[test]
    fn an_unusable_tool_is_omitted_and_an_error_if_it_is_allowed_by_name() {
        for (odd, problem) in [
            (good("with space"), "a model takes names"),
            (good(&"x".repeat(65)), "a model takes names"),
            (tool("odd", json!({ "type": "string" })), "its schema"),
            (tool("odd", json!({ "type": "object", "required": 5 })), "its schema"),
            (tool("odd", json!({ "type": "object", "description": "x".repeat(70_000) })), "longer than"),
            (good("a"), "listed twice"),
        ] {
            let name = odd.name.to_string();
            let listing = select(vec![good("a"), odd.clone()], None).unwrap();
            assert_eq!(names(&listing), ["a"], "{name}");
            assert!(listing.warnings[0].contains(problem), "{:?}", listing.warnings);
            let refused = select(vec![good("a"), odd], Some(&["a".to_owned(), name])).unwrap_err();
            assert!(refused.contains(problem), "{refused}");
        }
    }

    #[test]
    fn only_allowed_tools_are_listed_and_missing_ones_are_reported() {
        let listed = || vec![good("a"), good("b"), good("not a name")];

        assert_eq!(names(&select(listed(), Some(&["b".to_owned()])).unwrap()), ["b"]);
        let some = select(listed(), Some(&["b".to_owned(), "c".to_owned()])).unwrap();
        assert_eq!((names(&some), some.missing.as_slice()), (vec!["b"], &["c".to_owned()][..]));
        assert_eq!(some.listed, ["a", "b"]);
        let none = select(listed(), Some(&["c".to_owned()])).unwrap_err();
        assert_eq!(none, "it has no tool \"c\"; it has: a, b");
        let twelve: Vec<_> = (10..22).map(|n| good(&format!("t{n}"))).collect();
        let none = select(twelve, Some(&["c".to_owned()])).unwrap_err();
        assert!(
            none.ends_with("; it has: t10, t11, t12, t13, t14, t15, t16, t17, t18, t19 and 2 more"),
            "{none}"
        );
        assert!(select(Vec::new(), None).is_err());
        let many: Vec<_> = (0..129).map(|n| good(&format!("t{n}"))).collect();
        assert!(select(many.clone(), None).unwrap_err().contains("list the ones to use"));
        assert_eq!(names(&select(many, Some(&["t5".to_owned()])).unwrap()), ["t5"]);
    }

    #[test]
    fn a_long_description_is_truncated_at_a_character_boundary() {
        let mut long = good("a");
        long.description = Some("é".repeat(5_000).into());

        let listing = select(vec![long], None).unwrap();

        assert_eq!(listing.tools[0].description.chars().count(), MAX_DESCRIPTION + 1);
    }

    #[test]
    fn echoed_secrets_are_masked_before_truncation() {
        let mut secrets = Secrets::new(None);
        secrets.hide("canary-t0ken");
        let schema =
            json!({ "type": "object", "properties": { "canary-t0ken": { "const": "canary-t0ken" } } });
        let mut long = tool("a", schema);
        long.description = Some(format!("{}canary-t0ken", "x".repeat(MAX_DESCRIPTION - 5)).into());

        let listed = vec![long, good("canary-t0ken"), good("not canary-t0ken")];
        let listing = compile(super::select(listed, None, &secrets).unwrap(), None).unwrap();

        assert_eq!((names(&listing), listing.warnings.len()), (vec!["a"], 2));
        let all = format!("{listing:?}");
        assert!(!all.contains("can") && all.contains("***"), "{all}");
    }

    #[test]
    fn the_list_is_sorted() {
        let listing = select(vec![good("b"), good("c"), good("a")], None).unwrap();

        assert_eq!(names(&listing), ["a", "b", "c"]);
    }

    #[test]
    fn a_schema_with_exponential_cost_is_omitted() {
        let next = |n: usize| json!({ "$ref": format!("#/$defs/a{}", n + 1) });
        let definition = |n: usize| (format!("a{n}"), json!({ "allOf": [next(n), next(n)] }));
        let mut definitions: serde_json::Map<_, _> = (0..60).map(definition).collect();
        definitions.insert("a60".to_owned(), json!({ "required": ["x"] }));
        let endless = json!({ "type": "object", "$ref": "#/$defs/a0", "$defs": definitions });

        let listing = select(vec![good("a"), tool("endless", endless)], None).unwrap();

        assert_eq!(names(&listing), ["a"]);
        assert!(listing.warnings[0].contains("more than 10000 schemas"), "{:?}", listing.warnings);
    }
}
