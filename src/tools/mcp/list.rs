//! What a server offers, asked for when a tool is configured.

use std::collections::HashSet;

use rmcp::model::{PaginatedRequestParams, Tool};
use serde_json::Value;

use super::Reach;
use super::fault::Fault;
use super::sessions::{self, Session};
use crate::domain::assistant::MAX_TOOLS;
use crate::domain::chat::{clean_text, clean_value};
use crate::domain::mcp::FoundTool;
use crate::tools::schema::ArgumentSchema;
use crate::tools::secrets::Secrets;

/// How much may be listed in all: tools, pages, bytes.
const MAX_LISTED: usize = 2_000;
const MAX_PAGES: usize = 50;
const MAX_BYTES: usize = 4 * 1024 * 1024;
/// How long the mark of a next page may be, in bytes.
const MAX_CURSOR: usize = 1024;
const MAX_NAME: usize = 64;
/// In characters: more is cut.
const MAX_DESCRIPTION: usize = 4_096;
/// In bytes.
const MAX_SCHEMA: usize = 64 * 1024;
/// All that is kept of a list, in bytes.
const MAX_KEPT: usize = 1024 * 1024;

/// What can be used of what a server lists; no secret that it was sent is in it.
#[derive(Clone, Debug)]
pub struct Listing {
    /// At least one, by name.
    pub tools: Vec<FoundTool>,
    /// What is allowed and not there.
    pub missing: Vec<String>,
    /// What was left out, and why.
    pub warnings: Vec<String>,
}

/// Why there is no list, in words for whoever configures the server. Holds no secret.
#[derive(Clone, Debug, thiserror::Error)]
pub enum NotListed {
    /// It could not be asked: what it listed before may still be so.
    #[error("{0}")]
    Away(String),
    /// It said no, or what it lists cannot be used.
    #[error("{0}")]
    Refused(String),
}

/// Lists the tools of a server, those that `allow` names; without it all that a model can call.
pub async fn list(
    reach: Reach,
    allow: Option<&[String]>,
    secrets: &Secrets<'_>,
) -> Result<Listing, NotListed> {
    let timeout = reach.timeout;
    let listing = async {
        let session = sessions::open(reach).await?;
        let listed = ask(&session).await;
        Ok((session, listed?))
    };
    let listed = tokio::time::timeout(timeout, listing).await.unwrap_or(Err(Fault::Timeout(timeout)));
    let (session, tools) = listed.map_err(|fault| {
        let told = format!("it cannot be listed: {}", fault.logged(secrets));
        if fault.is_away() { NotListed::Away(told) } else { NotListed::Refused(told) }
    })?;
    sessions::close(session).await;
    let picked = pick(tools, allow, secrets).map_err(NotListed::Refused)?;
    let allow = allow.map(<[String]>::to_vec);
    // Schemas are a stranger's: to compile them may take a while.
    let compiling = tokio::task::spawn_blocking(move || compile(picked, allow.as_deref()));
    let compiled = compiling.await.unwrap_or_else(|_| Err("its schemas could not be read".to_owned()));
    compiled.map_err(NotListed::Refused)
}

async fn ask(session: &Session) -> Result<Vec<Tool>, Fault> {
    let mut tools = Vec::new();
    let mut seen = HashSet::new();
    let mut cursor = None;
    let mut bytes = 0;
    for _ in 0..MAX_PAGES {
        let params = PaginatedRequestParams::default().with_cursor(cursor);
        let page = session.list_tools(Some(params)).await?;
        bytes += serde_json::to_vec(&page.tools).map_or(MAX_BYTES, |text| text.len());
        tools.extend(page.tools);
        if tools.len() > MAX_LISTED {
            return Err(too_much(format_args!("more than {MAX_LISTED} tools")));
        }
        if bytes > MAX_BYTES {
            return Err(too_much(format_args!("more than {MAX_BYTES} bytes")));
        }
        match page.next_cursor {
            Some(next) if next.len() > MAX_CURSOR => {
                return Err(too_much(format_args!("pages by a cursor of more than {MAX_CURSOR} bytes")));
            }
            // A page that comes again would come for ever.
            Some(next) if seen.insert(next.clone()) => cursor = Some(next),
            Some(_) | None => return Ok(tools),
        }
    }
    Err(too_much(format_args!("more than {MAX_PAGES} pages")))
}

fn too_much(what: std::fmt::Arguments<'_>) -> Fault {
    Fault::Excess(format!("it lists {what}"))
}

/// What was picked of a list.
struct Picked {
    tools: Vec<FoundTool>,
    warnings: Vec<String>,
}

/// What an assistant could have of it, masked and counted. What is wrong with a tool that is named is an
/// error; of the others it is left out, with a warning.
fn pick(listed: Vec<Tool>, allow: Option<&[String]>, secrets: &Secrets<'_>) -> Result<Picked, String> {
    let mut tools: Vec<FoundTool> = Vec::new();
    let mut warnings = Vec::new();
    for tool in listed {
        if allow.is_some_and(|allow| !allow.iter().any(|name| *name == *tool.name)) {
            continue;
        }
        let name = secrets.redact_text(tool.name.to_string());
        match usable(tool, &name, &tools, secrets) {
            Ok(tool) => tools.push(tool),
            Err(problem) => leave_out(&name, &problem, allow, &mut warnings)?,
        }
        if tools.len() > MAX_TOOLS {
            return Err(format!("it has more than {MAX_TOOLS} tools: name those that are wanted in `allow`"));
        }
    }
    let size: usize =
        tools.iter().map(|tool| tool.description.len() + tool.parameters.to_string().len()).sum();
    if size > MAX_KEPT {
        return Err(format!(
            "its list is longer than {MAX_KEPT} bytes: name the tools that are wanted in `allow`"
        ));
    }
    // Servers that list in another order each time list nothing new.
    tools.sort_by(|one, other| one.name.cmp(&other.name));
    Ok(Picked { tools, warnings })
}

fn leave_out(
    name: &str,
    problem: &str,
    allow: Option<&[String]>,
    warnings: &mut Vec<String>,
) -> Result<(), String> {
    let name = shorten(name, MAX_NAME);
    if allow.is_some() {
        return Err(format!("its tool {name:?}: {problem}"));
    }
    warnings.push(format!("its tool {name:?} is left out: {problem}"));
    Ok(())
}

fn usable(
    tool: Tool,
    masked: &str,
    others: &[FoundTool],
    secrets: &Secrets<'_>,
) -> Result<FoundTool, String> {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-');
    if !(1..=MAX_NAME).contains(&tool.name.len()) || !tool.name.bytes().all(fits) {
        return Err(format!("a model takes names of 1 to {MAX_NAME} of A-Z a-z 0-9 _ -"));
    }
    if masked != tool.name {
        return Err("its name repeats a secret".to_owned());
    }
    if others.iter().any(|other| other.name == *tool.name) {
        return Err("it is listed twice".to_owned());
    }
    let parameters = Value::Object(tool.input_schema.as_ref().clone());
    if parameters.to_string().len() > MAX_SCHEMA {
        return Err(format!("its schema is longer than {MAX_SCHEMA} bytes"));
    }
    let described =
        clean_text(tool.description.or(tool.title.map(Into::into)).unwrap_or_default().into_owned());
    Ok(FoundTool {
        name: tool.name.into_owned(),
        description: shorten(&secrets.redact_text(described), MAX_DESCRIPTION),
        parameters: secrets.redact_value(clean_value(parameters)),
    })
}

/// The list, of what can be called.
fn compile(picked: Picked, allow: Option<&[String]>) -> Result<Listing, String> {
    let Picked { tools, mut warnings } = picked;
    let mut found: Vec<FoundTool> = Vec::new();
    for tool in tools {
        match ArgumentSchema::compile(&tool.parameters) {
            Ok(_) => found.push(tool),
            Err(problem) => {
                leave_out(&tool.name, &format!("its schema: {problem}"), allow, &mut warnings)?;
            }
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
    Ok(Listing { tools: found, missing, warnings })
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

    /// The whole of it, of a server that was sent no secret.
    fn pick(listed: Vec<Tool>, allow: Option<&[String]>) -> Result<Listing, String> {
        compile(super::pick(listed, allow, &Secrets::new(None))?, allow)
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

    #[test]
    fn what_a_server_repeats_of_its_secrets_is_masked_before_it_is_cut() {
        let mut secrets = Secrets::new(None);
        secrets.hide("canary-t0ken");
        let schema =
            json!({ "type": "object", "properties": { "canary-t0ken": { "const": "canary-t0ken" } } });
        let mut long = tool("a", schema);
        long.description = Some(format!("{}canary-t0ken", "x".repeat(MAX_DESCRIPTION - 5)).into());

        let listed = vec![long, good("canary-t0ken"), good("not canary-t0ken")];
        let listing = compile(super::pick(listed, None, &secrets).unwrap(), None).unwrap();

        assert_eq!((names(&listing), listing.warnings.len()), (vec!["a"], 2));
        let all = format!("{listing:?}");
        assert!(!all.contains("can") && all.contains("***"), "{all}");
    }

    #[test]
    fn the_order_of_a_list_is_of_no_account() {
        let listing = pick(vec![good("b"), good("c"), good("a")], None).unwrap();

        assert_eq!(names(&listing), ["a", "b", "c"]);
    }

    #[test]
    fn a_schema_that_would_never_be_through_is_left_out() {
        let next = |n: usize| json!({ "$ref": format!("#/$defs/a{}", n + 1) });
        let definition = |n: usize| (format!("a{n}"), json!({ "allOf": [next(n), next(n)] }));
        let mut definitions: serde_json::Map<_, _> = (0..60).map(definition).collect();
        definitions.insert("a60".to_owned(), json!({ "required": ["x"] }));
        let endless = json!({ "type": "object", "$ref": "#/$defs/a0", "$defs": definitions });

        let listing = pick(vec![good("a"), tool("endless", endless)], None).unwrap();

        assert_eq!(names(&listing), ["a"]);
        assert!(listing.warnings[0].contains("more than 10000 schemas"), "{:?}", listing.warnings);
    }
}
