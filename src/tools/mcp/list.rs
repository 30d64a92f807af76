//! What a server offers, asked for when a tool is configured.

use std::collections::HashSet;

use rmcp::model::{PaginatedRequestParams, Tool};
use serde_json::Value;

use super::Reach;
use super::fault::Fault;
use super::sessions::{self, Session};
use crate::domain::chat::{clean_text, clean_value};
use crate::domain::mcp::FoundTool;
use crate::tools::schema::ArgumentSchema;
use crate::tools::secrets::Secrets;

/// How many tools of one server an assistant can have, and how many may be listed in all.
const MAX_TOOLS: usize = 128;
const MAX_LISTED: usize = 2_000;
const MAX_NAME: usize = 64;
/// In characters: more is cut.
const MAX_DESCRIPTION: usize = 4_096;
/// In bytes.
const MAX_SCHEMA: usize = 64 * 1024;
/// All that is kept of a list, in bytes.
const MAX_KEPT: usize = 1024 * 1024;

/// What can be used of what a server lists.
#[derive(Clone, Debug)]
pub struct Listing {
    /// At least one.
    pub tools: Vec<FoundTool>,
    /// What is allowed and not there.
    pub missing: Vec<String>,
    /// What was left out, and why.
    pub warnings: Vec<String>,
}

/// Lists the tools of a server, those that `allow` names; without it all that a model can call.
/// Fails with what is wrong, in words for whoever configures it.
pub async fn list(reach: Reach, allow: Option<&[String]>, secrets: &Secrets<'_>) -> Result<Listing, String> {
    let timeout = reach.timeout;
    let listing = async {
        let session = sessions::open(reach).await?;
        let listed = ask(&session).await;
        Ok((session, listed?))
    };
    let listed = tokio::time::timeout(timeout, listing).await.unwrap_or(Err(Fault::Timeout(timeout)));
    let (session, tools) =
        listed.map_err(|fault| secrets.redact_text(format!("it cannot be listed: {fault}")))?;
    sessions::close(session).await;
    pick(tools, allow).map_err(|problem| secrets.redact_text(problem))
}

async fn ask(session: &Session) -> Result<Vec<Tool>, Fault> {
    let mut tools = Vec::new();
    let mut seen = HashSet::new();
    let mut cursor = None;
    loop {
        let params = PaginatedRequestParams::default().with_cursor(cursor);
        let page = session.list_tools(Some(params)).await?;
        tools.extend(page.tools);
        if tools.len() > MAX_LISTED {
            return Err(Fault::Incomplete(format!("it lists more than {MAX_LISTED} tools")));
        }
        match page.next_cursor {
            // A page that comes again would come for ever.
            Some(next) if seen.insert(next.clone()) => cursor = Some(next),
            Some(_) | None => return Ok(tools),
        }
    }
}

/// What an assistant can have of it. What is wrong with a tool that is named is an error; of the
/// others it is left out, with a warning.
fn pick(listed: Vec<Tool>, allow: Option<&[String]>) -> Result<Listing, String> {
    let mut found: Vec<FoundTool> = Vec::new();
    let mut warnings = Vec::new();
    for tool in listed {
        if allow.is_some_and(|allow| !allow.iter().any(|name| *name == *tool.name)) {
            continue;
        }
        let name = shorten(&tool.name, MAX_NAME);
        match usable(tool, &found) {
            Ok(tool) => found.push(tool),
            Err(problem) if allow.is_some() => return Err(format!("its tool {name:?}: {problem}")),
            Err(problem) => warnings.push(format!("its tool {name:?} is left out: {problem}")),
        }
    }
    let is_missing = |name: &&String| !found.iter().any(|tool| tool.name == **name);
    let missing: Vec<String> = allow.into_iter().flatten().filter(is_missing).cloned().collect();
    if found.is_empty() {
        return Err(match missing.first() {
            Some(name) => format!("it has no tool {name:?}"),
            None => "it has no tool that a model can call".to_owned(),
        });
    }
    if found.len() > MAX_TOOLS {
        return Err(format!("it has more than {MAX_TOOLS} tools: name those that are wanted in `allow`"));
    }
    let size: usize =
        found.iter().map(|tool| tool.description.len() + tool.parameters.to_string().len()).sum();
    if size > MAX_KEPT {
        return Err(format!(
            "its list is longer than {MAX_KEPT} bytes: name the tools that are wanted in `allow`"
        ));
    }
    Ok(Listing { tools: found, missing, warnings })
}

fn usable(tool: Tool, others: &[FoundTool]) -> Result<FoundTool, String> {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-');
    if !(1..=MAX_NAME).contains(&tool.name.len()) || !tool.name.bytes().all(fits) {
        return Err(format!("a model takes names of 1 to {MAX_NAME} of A-Z a-z 0-9 _ -"));
    }
    if others.iter().any(|other| other.name == *tool.name) {
        return Err("it is listed twice".to_owned());
    }
    let parameters = clean_value(Value::Object(tool.input_schema.as_ref().clone()));
    if parameters.to_string().len() > MAX_SCHEMA {
        return Err(format!("its schema is longer than {MAX_SCHEMA} bytes"));
    }
    ArgumentSchema::compile(&parameters).map_err(|problem| format!("its schema: {problem}"))?;
    let described =
        clean_text(tool.description.or(tool.title.map(Into::into)).unwrap_or_default().into_owned());
    Ok(FoundTool {
        name: tool.name.into_owned(),
        description: shorten(&described, MAX_DESCRIPTION),
        parameters,
    })
}

fn shorten(text: &str, most: usize) -> String {
    match text.char_indices().nth(most) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

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
    fn what_a_model_cannot_call_is_left_out_or_where_it_was_named_an_error() {
        for (odd, problem) in [
            (good("with space"), "a model takes names"),
            (good(&"x".repeat(65)), "a model takes names"),
            (tool("odd", json!({ "type": "string" })), "its schema"),
            (tool("odd", json!({ "type": "object", "required": 5 })), "its schema"),
            (tool("odd", json!({ "type": "object", "description": "x".repeat(70_000) })), "longer than"),
            (good("a"), "listed twice"),
        ] {
            let name = odd.name.to_string();
            let listing = pick(vec![good("a"), odd.clone()], None).unwrap();
            assert_eq!(names(&listing), ["a"], "{name}");
            assert!(listing.warnings[0].contains(problem), "{:?}", listing.warnings);
            let refused = pick(vec![good("a"), odd], Some(&["a".to_owned(), name])).unwrap_err();
            assert!(refused.contains(problem), "{refused}");
        }
    }

    #[test]
    fn only_what_is_allowed_is_taken_and_what_is_missing_is_told() {
        let listed = || vec![good("a"), good("b"), good("not a name")];

        assert_eq!(names(&pick(listed(), Some(&["b".to_owned()])).unwrap()), ["b"]);
        let some = pick(listed(), Some(&["b".to_owned(), "c".to_owned()])).unwrap();
        assert_eq!((names(&some), some.missing.as_slice()), (vec!["b"], &["c".to_owned()][..]));
        assert!(pick(Vec::new(), None).is_err());
        let many: Vec<_> = (0..129).map(|n| good(&format!("t{n}"))).collect();
        assert!(pick(many.clone(), None).unwrap_err().contains("name those that are wanted"));
        assert_eq!(names(&pick(many, Some(&["t5".to_owned()])).unwrap()), ["t5"]);
    }

    #[test]
    fn a_long_description_is_cut_between_characters() {
        let mut long = good("a");
        long.description = Some("é".repeat(5_000).into());

        let listing = pick(vec![long], None).unwrap();

        assert_eq!(listing.tools[0].description.chars().count(), MAX_DESCRIPTION + 1);
    }
}
