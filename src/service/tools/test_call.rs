//! A test call of a tool: a real call like in a turn, with more details in the result. It does not belong to a
//! conversation and never writes to our database.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use serde_json::{Map, Value};
use uuid::Uuid;

use crate::domain::account::Account;
use crate::domain::calendar::{BookingWrite, CalendarSettings};
use crate::domain::error::Error;
use crate::domain::ids::{CalendarId, ConversationId};
use crate::domain::tool::NamedTool;
use crate::domain::tool_loop::{CallResult, Toolbox as _};
use crate::outbound::AllowHosts;
use crate::service::{Services, resources, workspace_hosts};
use crate::store::workspace_config::{self, Section};
use crate::store::{Conn, StoreError, stored_json};
use crate::tools::{Call, CallContext, Exchange, StoreWriter, ToolOutcome, Toolset, WriteError};

/// Maximum duration of a call, regardless of the tool's own timeout.
const MAX_DURATION: Duration = Duration::from_mins(1);

/// The request for a test call.
#[derive(Debug)]
pub struct TestCallRequest {
    pub arguments: Map<String, Value>,
    /// For `{{name}}`, like variables that were set on a conversation with an API key.
    pub variables: Map<String, Value>,
    /// The name of a tool of an MCP server.
    pub name: Option<String>,
}

/// The outcome of a test call.
#[derive(Debug)]
pub struct TestCallResult {
    /// The result that the model would see, except that the error of a CalDAV calendar names its cause.
    pub result: CallResult,
    pub duration: Duration,
    /// The HTTP exchange of a webhook.
    pub exchange: Option<Exchange>,
}

/// Makes the call.
pub async fn call(
    services: &Services,
    account: &Account,
    name: &str,
    request: TestCallRequest,
) -> Result<TestCallResult, Error> {
    let named = resources::find::<NamedTool>(services, account, name).await?;
    if named.tool.config.writes() {
        return Err(write_not_allowed(&named));
    }
    let _permit = services.test_call_limiter.acquire(account.workspace).await?;
    let read = async |conn: Conn<'_>| read(conn, account).await;
    let (calendars, allow_hosts) = services.db.read(account.workspace, read).await?;
    let compiled = named.tool.compile(&named.slug, &calendars);
    let toolset = Toolset::from_tools(&compiled, &services.tools).map_err(Error::internal)?;
    let name = resolve_name(&named, request.name.as_deref())?;
    let tool = toolset.get(name).ok_or_else(|| Error::internal("the tool has no calendar"))?;

    let began = Instant::now();
    let arguments = match toolset.prepare(name, &request.arguments) {
        Ok(arguments) => arguments,
        Err(error) => {
            return Ok(TestCallResult {
                result: CallResult::failed(error),
                duration: began.elapsed(),
                exchange: None,
            });
        }
    };
    let call = Call { id: format!("call_test_{}", services.ids.uuid_v4().simple()), arguments };
    let context = CallContext {
        workspace: account.workspace,
        // No conversation has this id.
        conversation: ConversationId(Uuid::nil()),
        variables: &request.variables,
        allow_hosts: &allow_hosts,
        writer: &NoWrites,
    };
    let traced = tokio::time::timeout(MAX_DURATION, tool.call_traced(&call, &context)).await;
    let duration = began.elapsed();
    let (outcome, exchange) = traced.unwrap_or_else(|_| {
        (
            ToolOutcome::Result(CallResult::failed(
                "the call took too long; it may or may not have taken effect",
            )),
            None,
        )
    });
    match outcome {
        ToolOutcome::Result(result) => Ok(TestCallResult { result, duration, exchange }),
        ToolOutcome::Write(_) => Err(write_not_allowed(&named)),
    }
}

/// Refuses all writes: a call without a turn must not make any.
#[derive(Debug)]
pub(in crate::service) struct NoWrites;

#[async_trait]
impl StoreWriter for NoWrites {
    async fn write(&self, _write: BookingWrite) -> Result<Value, WriteError> {
        Err(WriteError::FencedOff)
    }
}

/// The function name of the tool to call.
fn resolve_name<'n>(named: &'n NamedTool, requested: Option<&'n str>) -> Result<&'n str, Error> {
    let Some(listing) = &named.tool.listing else { return Ok(&named.tool.spec.name) };
    let available: Vec<&str> = listing.tools.iter().map(|tool| tool.name.as_str()).collect();
    let refused = |text: String| Err(Error::Conflict(text));
    match (requested, available.as_slice()) {
        (Some(name), available) if available.contains(&name) => Ok(name),
        (None, [only]) => Ok(only),
        (Some(_), available) => refused(format!("Field 'name' must be one of: {}.", available.join(", "))),
        (None, available) => refused(format!("Field 'name' is required: which of {}?", available.join(", "))),
    }
}

fn write_not_allowed(named: &NamedTool) -> Error {
    let slug = &named.slug;
    Error::Conflict(format!(
        "The tool '{slug}' changes a calendar: a test call must not. Try it in a test conversation."
    ))
}

async fn read(
    mut conn: Conn<'_>,
    account: &Account,
) -> Result<(HashMap<CalendarId, CalendarSettings>, AllowHosts), StoreError> {
    let rows = workspace_config::list(conn.reborrow(), Section::Calendars, account.workspace).await?;
    let parse_row = |row: workspace_config::ConfigRow| {
        let settings = stored_json::from_str(&row.text).map_err(StoreError::unreadable)?;
        Ok((CalendarId(row.id), settings))
    };
    let calendars = rows.into_iter().map(parse_row).collect::<Result<_, StoreError>>()?;
    Ok((calendars, workspace_hosts::load(conn, account.workspace).await?))
}
