//! One real call of a tool, for whoever sets it up: made as a turn would make it, and told
//! in more detail. It is in no conversation, and never writes to our own store.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use serde_json::{Map, Value};
use uuid::Uuid;

use super::NamedTool;
use crate::domain::account::Account;
use crate::domain::batch::StoreWrite;
use crate::domain::calendar::CalendarSettings;
use crate::domain::error::Error;
use crate::domain::ids::{CalendarId, ConversationId};
use crate::domain::tool::Uses;
use crate::domain::tool_loop::{CallResult, Toolbox as _};
use crate::outbound::AllowHosts;
use crate::service::Services;
use crate::store::configured::{self, Section};
use crate::store::{Conn, StoreError};
use crate::tools::{Call, CallContext, Exchange, NotWritten, Outcome, StoreWrites, Toolset};

/// How long a call may take, whatever its own time-out is.
const PATIENCE: Duration = Duration::from_mins(1);

/// What is to be called with.
#[derive(Debug)]
pub struct Wanted {
    pub arguments: Map<String, Value>,
    /// For `{{name}}`, as if a key's holder had set them on a conversation.
    pub variables: Map<String, Value>,
    /// Which of an MCP server's tools.
    pub name: Option<String>,
}

/// What a test call came to.
#[derive(Debug)]
pub struct Tested {
    /// What the model would be shown.
    pub result: CallResult,
    pub duration: Duration,
    /// Of a webhook that was called.
    pub exchange: Option<Exchange>,
}

/// Makes the call.
pub async fn call(
    services: &Services,
    account: &Account,
    name: &str,
    wanted: Wanted,
) -> Result<Tested, Error> {
    let named = super::find(services, account, name).await?;
    refuse_writes(&named)?;
    let _trial = services.trials.begin(account.workspace)?;
    let (calendars, allow_hosts) = services.db.reading(async |conn| read(conn, account).await).await?;
    let compiled = named.tool.compile(&named.slug, &calendars);
    let unusable = |fault: Box<dyn std::error::Error + Send + Sync>| Error::Unavailable {
        outcome_unknown: false,
        source: Some(fault),
    };
    let toolset = Toolset::of(&compiled, &services.tools).map_err(|fault| unusable(fault.into()))?;
    let name = chosen(&named, wanted.name.as_deref())?;
    let tool = toolset.get(name).ok_or_else(|| unusable("the tool's calendar is gone".into()))?;

    let began = Instant::now();
    if let Err(fault) = toolset.check(name, &wanted.arguments) {
        return Ok(Tested { result: CallResult::failed(fault), duration: began.elapsed(), exchange: None });
    }
    let call =
        Call { id: format!("call_test_{}", services.ids.capability().simple()), arguments: wanted.arguments };
    let context = CallContext {
        workspace: account.workspace,
        // No conversation has it.
        conversation: ConversationId(Uuid::nil()),
        variables: &wanted.variables,
        allow_hosts: &allow_hosts,
        writes: &NoWrites,
    };
    let probed = tokio::time::timeout(PATIENCE, tool.probe(&call, &context)).await;
    let duration = began.elapsed();
    let (outcome, exchange) = probed.unwrap_or_else(|_| {
        (
            Outcome::Result(CallResult::failed(
                "the call took too long; it may or may not have taken effect",
            )),
            None,
        )
    });
    match outcome {
        Outcome::Result(result) => Ok(Tested { result, duration, exchange }),
        Outcome::Write(_) => Err(refusal(&named)),
    }
}

/// There is no turn in whose name anything could be written.
#[derive(Debug)]
struct NoWrites;

#[async_trait]
impl StoreWrites for NoWrites {
    async fn write(&self, _write: StoreWrite) -> Result<Value, NotWritten> {
        Err(NotWritten::Overtaken)
    }
}

/// What the model would call it by.
fn chosen<'n>(named: &'n NamedTool, wanted: Option<&'n str>) -> Result<&'n str, Error> {
    let Uses::Mcp(tools) = &named.tool.uses else { return Ok(&named.tool.name) };
    let offered: Vec<&str> = tools.found.iter().map(|tool| tool.name.as_str()).collect();
    match (wanted, offered.as_slice()) {
        (Some(name), offered) if offered.contains(&name) => Ok(name),
        (None, [only]) => Ok(only),
        (Some(_), offered) => {
            Err(Error::invalid("name", format!("Field 'name' must be one of: {}.", offered.join(", "))))
        }
        (None, offered) => {
            let text = format!("Field 'name' is required: which of {}?", offered.join(", "));
            Err(Error::invalid("name", text))
        }
    }
}

/// A test must not book.
fn refuse_writes(named: &NamedTool) -> Result<(), Error> {
    match named.tool.uses {
        Uses::CalendarBooking { .. } | Uses::CalendarCancel { .. } => Err(refusal(named)),
        Uses::CalendarAvailability { .. } | Uses::Knowledge { .. } | Uses::Webhook(_) | Uses::Mcp(_) => {
            Ok(())
        }
    }
}

fn refusal(named: &NamedTool) -> Error {
    let slug = &named.slug;
    Error::invalid(
        "id",
        format!("The tool '{slug}' changes a calendar: a test call must not. Try it in a test conversation."),
    )
}

async fn read(
    mut conn: Conn<'_>,
    account: &Account,
) -> Result<(HashMap<CalendarId, CalendarSettings>, AllowHosts), StoreError> {
    let rows = configured::list(conn.reborrow(), Section::Calendars, account.workspace).await?;
    let readable =
        |row: configured::Configured| Some((CalendarId(row.id), serde_json::from_str(&row.text).ok()?));
    let calendars = rows.into_iter().filter_map(readable).collect();
    Ok((calendars, super::allow_hosts(conn, account.workspace).await?))
}
