//! The versions of an assistant: listed, read, compared, and restored.

use serde_json::Value;

use super::{Put, WrittenAssistant, finish, lock};
use crate::domain::account::Account;
use crate::domain::assistant::{Assistant, AssistantVersion, NumberedVersion, version_not_found};
use crate::domain::audit::AuditAction;
use crate::domain::clock::Micros;
use crate::domain::error::Error;
use crate::domain::ids::{AssistantId, WorkspaceId};
use crate::service::configuration::Fields;
use crate::service::page::Page;
use crate::service::{Services, resources};
use crate::store::{Conn, StoreError, assistants};

/// At most `limit` versions before one, the newest first: the number of each, and the time of its creation. Also the current number.
pub async fn list(
    services: &Services,
    account: &Account,
    name: &str,
    before: Option<i64>,
    limit: usize,
) -> Result<(i64, Page<(i64, Micros), i64>), Error> {
    let assistant = resources::find::<Assistant>(services, account, name).await?;
    let (workspace, id) = (account.workspace, assistant.id);
    let before = before.unwrap_or(i64::MAX);
    let read =
        async |conn: Conn<'_>, rows| assistants::list_versions(conn, workspace, id, before, rows).await;
    let page = Page::read(&services.db, workspace, limit, read, |(number, _)| *number).await?;
    Ok((assistant.current_version, page))
}

/// A version, by its number as it was sent.
pub async fn read(
    services: &Services,
    account: &Account,
    name: &str,
    number: &str,
) -> Result<(Assistant, NumberedVersion), Error> {
    let assistant = resources::find::<Assistant>(services, account, name).await?;
    let version = find(services, account.workspace, assistant.id, number).await?;
    Ok((assistant, version))
}

async fn find(
    services: &Services,
    workspace: WorkspaceId,
    id: AssistantId,
    number: &str,
) -> Result<NumberedVersion, Error> {
    let version = parse_number(number)?;
    let read = async |conn: Conn<'_>| assistants::read_version(conn, workspace, id, version).await;
    services.db.read(workspace, read).await?.ok_or_else(|| version_not_found(number))
}

fn parse_number(number: &str) -> Result<i64, Error> {
    let is_canonical = |parsed: &i64| *parsed > 0 && parsed.to_string() == number;
    number.parse().ok().filter(is_canonical).ok_or_else(|| version_not_found(number))
}

/// What differs between two versions.
#[derive(Debug, PartialEq)]
pub struct VersionDiff {
    pub version: i64,
    /// The version that it is compared with; none for the first one without another.
    pub with: Option<i64>,
    /// The fields that differ, as the other version has them.
    pub before: Fields,
    /// The fields that differ, as this version has them.
    pub after: Fields,
    /// The slugs of the tools that both have, with different definitions.
    pub changed_tools: Vec<String>,
}

/// Compares a version with another one: by default with the one before it.
pub async fn diff(
    services: &Services,
    account: &Account,
    name: &str,
    number: &str,
    with: Option<&str>,
) -> Result<VersionDiff, Error> {
    let (assistant, version) = read(services, account, name, number).await?;
    let previous = (version.number > 1).then(|| (version.number - 1).to_string());
    let other = match with.or(previous.as_deref()) {
        Some(other) => Some(find(services, account.workspace, assistant.id, other).await?),
        None => None,
    };
    let other_version = other.as_ref().map(|other| &other.version);
    let (before, after) = differing_fields(other_version, &version.version)?;
    Ok(VersionDiff {
        version: version.number,
        with: other.as_ref().map(|other| other.number),
        before,
        after,
        changed_tools: other_version.map(|other| changed_tools(other, &version.version)).unwrap_or_default(),
    })
}

/// The fields in which two versions differ, of each.
fn differing_fields(
    before: Option<&AssistantVersion>,
    after: &AssistantVersion,
) -> Result<(Fields, Fields), Error> {
    let fields = |version: &AssistantVersion| match serde_json::to_value(version.source()) {
        Ok(Value::Object(fields)) => Ok(fields),
        Ok(_) | Err(_) => Err(Error::internal("an assistant is no JSON object")),
    };
    let before = before.map(fields).transpose()?.unwrap_or_default();
    let after = fields(after)?;
    let only = |own: &Fields, other: &Fields| {
        let differs = |(name, value): &(&String, &Value)| other.get(*name) != Some(*value);
        own.iter().filter(differs).map(|(name, value)| (name.clone(), value.clone())).collect()
    };
    Ok((only(&before, &after), only(&after, &before)))
}

fn changed_tools(before: &AssistantVersion, after: &AssistantVersion) -> Vec<String> {
    let of = |version: &AssistantVersion, slug: &str| {
        version.tools.iter().filter(|tool| tool.slug == slug).cloned().collect::<Vec<_>>()
    };
    let others = before.source().tools;
    let both = after.source().tools.into_iter().filter(|slug| others.contains(slug));
    both.filter(|slug| of(before, slug) != of(after, slug)).collect()
}

/// Makes a new version with the content of an old one, and with its tools as they are now. An archived assistant is in use again.
pub async fn restore(
    services: &Services,
    account: &Account,
    name: &str,
    number: &str,
) -> Result<WrittenAssistant, Error> {
    let version = parse_number(number)?;
    let workspace = account.workspace;
    let put = Put { services, account, action: AuditAction::Updated };
    let write = async |mut conn: Conn<'_>| {
        let row = match lock(conn.reborrow(), workspace, name).await? {
            Ok(row) => row,
            Err(error) => return Ok(Err(error)),
        };
        let found = assistants::read_version(conn.reborrow(), workspace, row.id, version).await?;
        let Some(found) = found else { return Ok(Err(version_not_found(number))) };
        let written = put.put(conn, Ok(row), found.version.source()).await?;
        Ok::<_, StoreError>(written.map_err(|error| {
            // The request has no such field.
            let is_of_version = matches!(error, Error::Invalid(_));
            let conflict = || Error::Conflict(format!("Version {version} cannot be restored. {error}"));
            if is_of_version { conflict() } else { error }
        }))
    };
    finish(services, services.db.write(workspace, write).await)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn version(prompt: &str, tools: &[(&str, &str)]) -> AssistantVersion {
        let tool = |(slug, name): &(&str, &str)| {
            json!({
                "slug": slug, "name": name, "description": "", "parameters": {},
                "kind": { "knowledge": { "knowledge_base": "kb_00000000000000000000000000" } },
            })
        };
        let tools: Vec<_> = tools.iter().map(tool).collect();
        let version = json!({ "slug": "a", "name": "A", "system_prompt": prompt, "tools": tools });
        serde_json::from_value(version).unwrap()
    }

    #[test]
    fn a_comparison_has_the_fields_that_differ_and_the_tools_whose_definitions_do() {
        let before = version("x", &[("orders", "get_order"), ("faq", "search")]);
        let after = version("y", &[("orders", "get_orders"), ("faq", "search"), ("crm", "find")]);

        let (was, is) = differing_fields(Some(&before), &after).unwrap();

        assert_eq!(Value::from(was), json!({ "system_prompt": "x", "tools": ["orders", "faq"] }));
        assert_eq!(Value::from(is), json!({ "system_prompt": "y", "tools": ["orders", "faq", "crm"] }));
        assert_eq!(changed_tools(&before, &after), ["orders"]);
    }

    #[test]
    fn a_number_has_one_form() {
        assert_eq!(parse_number("12").unwrap(), 12);
        for number in ["0", "-1", "+1", "01", "1.0", "x", ""] {
            assert!(parse_number(number).is_err(), "{number}");
        }
    }
}
