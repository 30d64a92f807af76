//! Usage: what a workspace has used, by time, assistant, model and key. The operator's API answers in the same form.

use std::collections::HashMap;
use std::fmt::Write as _;

use axum::extract::State;
use axum::response::{IntoResponse as _, Response};
use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderValue};
use serde::{Deserialize, Serialize};
use utoipa::openapi::schema::Schema;
use utoipa::{IntoParams, ToSchema};

use super::list::{Cursor, limit};
use crate::domain::clock::Micros;
use crate::domain::error::Error;
use crate::domain::ids::{AssistantId, KeyId, WorkspaceId};
use crate::domain::money::Money;
use crate::domain::render::Success;
use crate::domain::schema::{DayOrQuarterText, TimeZoneName, pattern, words};
use crate::domain::usage::{Bucket, Group, Period, UsageRow, parse_buckets};
use crate::http::describe::{Errors, Overloaded, Unavailable, error_sets};
use crate::http::envelope::{ApiError, Platform};
use crate::http::extract::{BillingRead, QueryParams, prefers};
use crate::http::fields::{Choice, Violation, check_choice};
use crate::http::response::Page;
use crate::http::state::AppState;
use crate::service::usage::{self, UsageQuery};

/// A position in the list of rows.
type UsageCursor = Cursor<i64, 'u'>;

const TEXT_CSV: HeaderValue = HeaderValue::from_static("text/csv; charset=utf-8");

/// The query of usage.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(in crate::http) struct UsageParams {
    /// The start: a date in the time zone, or a time on a quarter of an hour.
    #[param(inline, value_type = DayOrQuarterText, required = true, example = "2026-03-01")]
    start: Option<String>,
    /// The end, which is not included; now by default.
    #[param(inline, value_type = Option<DayOrQuarterText>, example = "2026-04-01")]
    end: Option<String>,
    /// The length of the buckets; `day` by default. With `none` there is one bucket.
    #[param(schema_with = bucket_schema)]
    bucket: Option<String>,
    /// What to divide the figures by, separated by commas: `workspace`, `assistant`, `model`, `key`.
    #[param(schema_with = groups_schema, example = "assistant,model")]
    group_by: Option<String>,
    /// The time zone of dates and buckets; UTC by default.
    #[param(inline, value_type = Option<TimeZoneName>, example = "Europe/Berlin")]
    time_zone: Option<String>,
    /// Number of items per page: 1 to 200, 50 by default.
    #[param(value_type = Option<u32>, minimum = 1, maximum = 200)]
    limit: Option<String>,
    /// The `next_cursor` of the previous page.
    #[param(inline, value_type = Option<UsageCursor>)]
    cursor: Option<String>,
}

fn bucket_schema() -> Schema {
    words(Buckets::words()).into()
}

/// The schema of what to group by.
fn groups_schema() -> Schema {
    let words: Vec<_> = Group::ALL.iter().map(|group| group.as_str()).collect();
    let word = format!(" *({}) *", words.join("|"));
    pattern(format!("^{word}(,{word})*$")).into()
}

/// The lengths of buckets.
enum Buckets {}

impl Choice for Buckets {
    type Value = Bucket;

    fn words() -> Vec<&'static str> {
        Bucket::ALL.iter().map(|bucket| bucket.as_str()).collect()
    }
}

error_sets! {
    /// The query of usage.
    InvalidUsageQuery {
        "A query parameter is invalid, or the answer has too many rows" => missing_start(),
    }
}

type UsageErrors = Errors<Platform, (BillingRead, Overloaded, Unavailable, InvalidUsageQuery)>;

/// The usage in a bucket. Only model calls, tokens and tool calls belong to a model; grouped by model, the other figures are in a row
/// without one. Figures of visitors without an API key have no key.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Usage)]
pub(in crate::http) struct UsageOut {
    #[schema(format = DateTime, example = "2026-03-15T00:00:00Z")]
    start: String,
    /// Not included.
    #[schema(format = DateTime, example = "2026-03-16T00:00:00Z")]
    end: String,
    /// Only if grouped by it.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, example = "wsp_01k9z3x8f5e4r9t2m6q7w8y0ab")]
    workspace_id: Option<WorkspaceId>,
    /// Only if grouped by it.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, example = "ast_01k9z3x8f5e4r9t2m6q7w8y0ab")]
    assistant_id: Option<AssistantId>,
    /// Only if grouped by it.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, example = "key_01k9z3x8f5e4r9t2m6q7w8y0ab")]
    key_id: Option<KeyId>,
    /// The connection of the model; only if grouped by it.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, example = "default")]
    connection: Option<String>,
    /// Only if grouped by it.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, example = "gpt-5-mini")]
    model: Option<String>,
    /// All messages, replies included.
    messages: i64,
    turns_completed: i64,
    turns_failed: i64,
    turns_discarded: i64,
    /// Answers of models. They count when their turn ends, as do their tokens and tool calls.
    model_calls: i64,
    input_tokens: i64,
    /// The part of `input_tokens` that the provider had cached.
    cached_tokens: i64,
    output_tokens: i64,
    /// The part of `output_tokens` that was spent on reasoning.
    reasoning_tokens: i64,
    tool_calls: i64,
    #[schema(example = "1.25")]
    charged: Money,
    /// Counts when it was refunded, not when it was charged.
    #[schema(example = "0.05")]
    refunded: Money,
    /// `charged` less `refunded`.
    #[schema(example = "1.20")]
    net: Money,
    /// Top-ups less deductions.
    #[schema(example = "10.00")]
    credits: Money,
}

impl UsageOut {
    fn new(row: UsageRow, end: Micros) -> Self {
        let UsageRow { key, figures } = row;
        Self {
            start: key.start.to_string(),
            end: end.to_string(),
            workspace_id: Some(key.workspace).filter(|id| !id.0.is_nil()),
            assistant_id: Some(key.assistant).filter(|id| !id.0.is_nil()),
            key_id: Some(key.key).filter(|id| !id.0.is_nil()),
            connection: Some(key.connection).filter(|text| !text.is_empty()),
            model: Some(key.model).filter(|text| !text.is_empty()),
            messages: figures.messages,
            turns_completed: figures.turns_completed,
            turns_failed: figures.turns_failed,
            turns_discarded: figures.turns_discarded,
            model_calls: figures.model_calls,
            input_tokens: figures.input_tokens,
            cached_tokens: figures.cached_tokens,
            output_tokens: figures.output_tokens,
            reasoning_tokens: figures.reasoning_tokens,
            tool_calls: figures.tool_calls,
            charged: figures.charged,
            refunded: figures.refunded,
            net: figures.net(),
            credits: figures.credited,
        }
    }
}

/// Read the usage.
///
/// Returns the workspace's usage in each bucket and group, the oldest first, without those that have none. The sums equal the journal and
/// the ledger, and stay when those are removed. An answer has at most 10,000 rows. With `Accept: text/csv`, all of them are
/// returned at once, as CSV.
#[utoipa::path(
    get, path = "/usage", tag = "platform", operation_id = "readUsage", security(("bearer" = ["billing:read"])),
    params(UsageParams),
    responses(
        (status = 200, description = "A page", content((Success<Page<UsageOut>> = "application/json"), (String = "text/csv"))),
        UsageErrors,
    ),
)]
pub(super) async fn read(
    State(state): State<AppState>,
    BillingRead(account, _): BillingRead,
    QueryParams(params, _): QueryParams<UsageParams>,
    headers: HeaderMap,
) -> Result<Response, ApiError<Platform>> {
    answer(&state, Some(account.workspace), &params, &headers).await
}

/// Answers a query of the usage of one workspace, or of all.
pub(in crate::http) async fn answer(
    state: &AppState,
    workspace: Option<WorkspaceId>,
    params: &UsageParams,
    headers: &HeaderMap,
) -> Result<Response, ApiError<Platform>> {
    let limit = limit(params.limit.as_deref())?;
    let after = UsageCursor::decode(params.cursor.as_deref())?.unwrap_or(0);
    let query = query(params, workspace, state.services.clock.now())?;
    let rows = usage::read(&state.services, &query).await?;
    let ends: HashMap<_, _> = query.buckets.iter().map(|Period { start, end }| (start.0, *end)).collect();
    let end = |row: &UsageRow| ends.get(&row.key.start.0).copied().unwrap_or(row.key.start);
    let figures = rows.into_iter().map(|row| {
        let end = end(&row);
        UsageOut::new(row, end)
    });
    if prefers(headers, "text/csv") {
        return Ok(([(CONTENT_TYPE, TEXT_CSV)], csv(figures)).into_response());
    }
    let skipped = usize::try_from(after).unwrap_or(usize::MAX);
    let mut items: Vec<_> = figures.skip(skipped).take(limit.saturating_add(1)).collect();
    let has_more = items.len() > limit;
    items.truncate(limit);
    let next = after.saturating_add(i64::try_from(items.len()).unwrap_or(i64::MAX));
    let page: Page<UsageOut> = Page::new(items, has_more.then(|| UsageCursor::encode(next)));
    Ok(Success::new("Usage retrieved successfully.", page).into_response())
}

fn missing_start() -> Error {
    Violation::Missing.of::<Platform>("start")
}

fn query(params: &UsageParams, workspace: Option<WorkspaceId>, now: Micros) -> Result<UsageQuery, Error> {
    let start = params.start.as_deref().ok_or_else(missing_start)?;
    let bucket = check_choice::<Buckets>("bucket", params.bucket.as_deref())?.unwrap_or(Bucket::Day);
    let groups = params.group_by.as_deref().map_or(Ok(Vec::new()), groups)?;
    let buckets = parse_buckets(start, params.end.as_deref(), params.time_zone.as_deref(), bucket, now);
    let buckets = buckets.map_err(|error| Error::invalid(error.field(), error.to_string()))?;
    Ok(UsageQuery { workspace, buckets, groups })
}

fn groups(text: &str) -> Result<Vec<Group>, Error> {
    let groups: Result<Vec<Group>, _> = text.split(',').map(|word| word.trim().parse()).collect();
    groups.map_err(|_| {
        let all: Vec<_> = Group::ALL.iter().map(|group| group.as_str()).collect();
        Error::invalid("group_by", format!("Field 'group_by' must be a list of: {}.", all.join(", ")))
    })
}

/// Rows as CSV (RFC 4180), with a line of names.
fn csv(figures: impl Iterator<Item = UsageOut>) -> String {
    let mut text = "start,end,workspace_id,assistant_id,key_id,connection,model,messages,turns_completed,turns_failed,\
        turns_discarded,model_calls,input_tokens,cached_tokens,output_tokens,reasoning_tokens,tool_calls,charged,refunded,\
        net,credits\r\n"
        .to_owned();
    for row in figures {
        let names = [
            row.workspace_id.map(|id| id.to_string()),
            row.assistant_id.map(|id| id.to_string()),
            row.key_id.map(|id| id.to_string()),
            row.connection.as_deref().map(quoted),
            row.model.as_deref().map(quoted),
        ];
        let names = names.map(Option::unwrap_or_default).join(",");
        let counts = [
            row.messages,
            row.turns_completed,
            row.turns_failed,
            row.turns_discarded,
            row.model_calls,
            row.input_tokens,
            row.cached_tokens,
            row.output_tokens,
            row.reasoning_tokens,
            row.tool_calls,
        ];
        let counts = counts.map(|count| count.to_string()).join(",");
        let (charged, refunded, net, credits) = (row.charged, row.refunded, row.net, row.credits);
        // Writing to a String does not fail.
        let _ = write!(
            text,
            "{},{},{names},{counts},{charged},{refunded},{net},{credits}\r\n",
            row.start, row.end
        );
    }
    text
}

fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('"', "\"\""))
}
