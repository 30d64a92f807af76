//! The workspaces, and their credit.

use axum::extract::State;
use axum::response::{IntoResponse as _, Response};
use http::StatusCode;
use serde::Serialize;
use serde_json::value::RawValue;
use utoipa::ToSchema;
use utoipa::openapi::schema::{AdditionalProperties, ArrayBuilder, ObjectBuilder, Schema};
use utoipa::openapi::{RefOr, Type};

use super::{Answer, ReadErrors, WriteErrors};
use crate::domain::allow_hosts::AllowHosts;
use crate::domain::clock::Micros;
use crate::domain::error::Error;
use crate::domain::ids::{AssistantId, ResourceId as _, WorkspaceId};
use crate::domain::money::Money;
use crate::domain::render::Success;
use crate::domain::workspace::Pricing;
use crate::http::describe::{NotFound, error_sets};
use crate::http::envelope::{ApiError, Platform};
use crate::http::extract::{Input, Operator, PathParam, QueryParams};
use crate::http::fields::{
    Amount, AnyText, ClearableAmount, FieldType, Flag, Integer, Text, Violation, request, string_schema,
    strings,
};
use crate::http::platform::list::{Cursor, InvalidQuery, PageQuery, limit};
use crate::http::response::Page;
use crate::http::state::AppState;
use crate::service::credit::{CreditOutcome, MAX_REFERENCE};
use crate::service::workspaces::{self, NewWorkspace, PricingPatch, WorkspaceBalance, WorkspaceSettings};

type WorkspaceCursor = Cursor<WorkspaceId, 'p'>;

/// The longest slug of a workspace, in bytes.
const MAX_SLUG: usize = 64;
/// The most private hosts of a workspace.
const MAX_HOSTS: usize = 100;

/// The slug of a workspace.
#[derive(Debug)]
pub(super) enum Slug {}

impl FieldType for Slug {
    type Value = String;

    fn check(raw: &RawValue) -> Result<Option<String>, Violation> {
        let Some(slug) = AnyText::check(raw)? else { return Ok(None) };
        let is_allowed =
            |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-_".contains(&byte);
        if (1..=MAX_SLUG).contains(&slug.len()) && slug.bytes().all(is_allowed) {
            return Ok(Some(slug));
        }
        Err(Violation::rule("must be 1 to 64 lower-case letters, digits, hyphens or underscores"))
    }

    fn schema() -> Schema {
        let pattern = Some("^[a-z0-9_-]{1,64}$");
        ObjectBuilder::new().schema_type(Type::String).pattern(pattern).build().into()
    }
}

/// Prices of a reply by the type of its conversation.
#[derive(Debug)]
pub(super) enum Prices {}

impl FieldType for Prices {
    type Value = PricingPatch;

    fn check(raw: &RawValue) -> Result<Option<PricingPatch>, Violation> {
        let rule = r#"must be an object of amounts with the fields widget, test and api, such as {"widget": "0.01"}"#;
        let prices: PricingPatch = serde_json::from_str(raw.get()).map_err(|_| Violation::rule(rule))?;
        let all = [prices.widget, prices.test, prices.api];
        let has_negative = all.iter().flatten().any(|price| *price < Money::ZERO);
        if has_negative { Err(Violation::rule(rule)) } else { Ok(Some(prices)) }
    }

    fn schema() -> Schema {
        let object = ObjectBuilder::new().schema_type(Type::Object);
        let object = object.property("widget", <Amount>::schema()).property("test", <Amount>::schema());
        let object = object.property("api", <Amount>::schema());
        object.additional_properties(Some(AdditionalProperties::FreeForm(false))).build().into()
    }
}

/// A list of private hosts.
#[derive(Debug)]
pub(super) enum Hosts {}

impl FieldType for Hosts {
    type Value = Vec<String>;

    fn check(raw: &RawValue) -> Result<Option<Vec<String>>, Violation> {
        let hosts = strings(raw)?;
        if hosts.len() > MAX_HOSTS {
            return Err(Violation::rule(format!("must not have more than {MAX_HOSTS} hosts")));
        }
        let rule = "must be a list of hosts, each `host` or `host:port`, without scheme or path";
        let hosts = AllowHosts::parse(&hosts).map_err(|_| Violation::rule(rule))?;
        Ok(Some(hosts.entries()))
    }

    fn schema() -> Schema {
        ArrayBuilder::new().items(RefOr::T(string_schema(None))).max_items(Some(MAX_HOSTS)).build().into()
    }
}

request! {
    /// A new workspace, with the settings of the table `[workspace]` of a workspace file.
    pub(super) struct WorkspaceIn as WorkspaceIn {
        /// Unique, and never changed.
        slug: Slug = "acme",
        name: Text<200> = "Acme",
        /// The opening credit; `0.00` by default.
        balance: Option<Amount> = "25.00",
        /// Whether a platform message without a conversation creates one; true by default.
        auto_create_conversations: Option<Flag>,
        /// What a reply costs, by the type of its conversation. By default `0.01` for `widget`, else nothing.
        pricing: Option<Prices> = {"widget": "0.01", "test": "0.00", "api": "0.02"},
        /// The balance below which the event `balance.low` is sent.
        balance_low: Option<Amount> = "5.00",
        /// The most tokens of models in a conversation. Those of the server apply, too.
        tokens_per_conversation: Option<Integer<i64, 1, 9_007_199_254_740_991>>,
        /// The most tokens of models in a day (UTC).
        tokens_per_day: Option<Integer<i64, 1, 9_007_199_254_740_991>>,
        /// Private hosts that tools and webhooks may reach.
        allow_hosts: Option<Hosts> = ["crm.internal:8080"],
    }
}

request! {
    /// Changes to a workspace.
    pub(super) struct WorkspaceUpdateIn as WorkspaceChange update {
        name: Option<Text<200>> = "Acme",
        auto_create_conversations: Option<Flag>,
        /// The assistant of new conversations of the platform API. An empty string removes it.
        default_assistant_id: Option<AnyText>,
        /// Prices that are left out stay.
        pricing: Option<Prices> = {"widget": "0.01"},
        /// An empty string removes it.
        balance_low: Option<ClearableAmount> = "5.00",
        /// 0 removes the limit.
        tokens_per_conversation: Option<Integer<i64, 0, 9_007_199_254_740_991>>,
        /// 0 removes the limit.
        tokens_per_day: Option<Integer<i64, 0, 9_007_199_254_740_991>>,
        /// Replaces the list.
        allow_hosts: Option<Hosts> = ["crm.internal:8080"],
    }
}

request! {
    /// Credit.
    pub(super) struct CreditIn as CreditIn {
        /// In dollars; a negative amount takes credit back, down to a balance of zero.
        amount: Amount<true> = "25.00",
        /// A reference counts once: repeating it changes nothing.
        reference: Text<MAX_REFERENCE> = "invoice-1042",
    }
}

fn new_workspace(input: WorkspaceIn) -> NewWorkspace {
    NewWorkspace {
        slug: input.slug,
        balance: input.balance.unwrap_or(Money::ZERO),
        settings: WorkspaceSettings {
            name: Some(input.name),
            auto_create_conversations: input.auto_create_conversations,
            default_assistant: None,
            pricing: input.pricing.unwrap_or_default(),
            balance_low: input.balance_low.map(Some),
            tokens_per_conversation: input.tokens_per_conversation.map(Some),
            tokens_per_day: input.tokens_per_day.map(Some),
            allow_hosts: input.allow_hosts,
        },
    }
}

fn settings(input: WorkspaceUpdateIn) -> Result<WorkspaceSettings, Error> {
    let WorkspaceUpdateIn {
        name,
        auto_create_conversations,
        default_assistant_id,
        pricing,
        balance_low,
        tokens_per_conversation,
        tokens_per_day,
        allow_hosts,
    } = input;
    let assistant = |id: String| if id.is_empty() { Ok(None) } else { AssistantId::parse(&id).map(Some) };
    let limit = |tokens: i64| (tokens > 0).then_some(tokens);
    Ok(WorkspaceSettings {
        name,
        auto_create_conversations,
        default_assistant: default_assistant_id.map(assistant).transpose()?,
        pricing: pricing.unwrap_or_default(),
        balance_low,
        tokens_per_conversation: tokens_per_conversation.map(limit),
        tokens_per_day: tokens_per_day.map(limit),
        allow_hosts,
    })
}

error_sets! {
    /// The slug of a new workspace.
    SlugTaken {
        "The slug is taken" => Error::Conflict("The slug 'acme' is taken.".to_owned()),
    }

    /// A change of a workspace that the present state refuses.
    WorkspaceConflict {
        "A workspace file manages the workspace" => Error::Conflict(
            "The workspace 'acme' is set up by a workspace file: change it there.".to_owned(),
        ),
        "The workspace is being deleted" => Error::Conflict("The workspace is being deleted.".to_owned()),
    }

    /// A workspace that is being deleted.
    BeingDeleted {
        "The workspace is being deleted" => Error::Conflict("The workspace is being deleted.".to_owned()),
    }

    /// A deletion that the present state refuses.
    NotSuspended {
        "The workspace is not suspended" => Error::Conflict("Suspend the workspace before you delete it.".to_owned()),
    }

    /// A reference that has counted for another amount.
    ReferenceUsed {
        "The reference has counted for another amount, or the workspace is being deleted" => Error::Conflict(
            "The reference 'invoice-1042' has counted already, for 20.00. Nothing was credited.".to_owned(),
        ),
    }
}

/// Prices of a reply.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Pricing)]
struct PricingOut {
    #[schema(example = "0.01")]
    widget: Money,
    #[schema(example = "0.00")]
    test: Money,
    #[schema(example = "0.02")]
    api: Money,
}

/// A workspace: one tenant.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Workspace)]
pub(super) struct WorkspaceOut {
    #[schema(example = "wsp_01k9z3x8f5e4r9t2m6q7w8y0ab")]
    id: WorkspaceId,
    #[schema(example = "acme")]
    slug: String,
    #[schema(example = "Acme")]
    name: String,
    #[schema(example = "25.00")]
    balance: Money,
    auto_create_conversations: bool,
    #[schema(required, example = "ast_01k9z3x8f5e4r9t2m6q7w8y0ab")]
    default_assistant_id: Option<AssistantId>,
    #[schema(inline)]
    pricing: PricingOut,
    #[schema(required, example = "5.00")]
    balance_low: Option<Money>,
    #[schema(required)]
    tokens_per_conversation: Option<i64>,
    #[schema(required)]
    tokens_per_day: Option<i64>,
    #[schema(example = json!(["crm.internal:8080"]))]
    allow_hosts: Vec<String>,
    /// Whether a workspace file manages its settings; if so, they can only be changed there.
    from_file: bool,
    #[schema(format = DateTime, example = "2026-03-15T14:22:11Z")]
    created_at: String,
    /// Since when it is suspended; null if it is not.
    #[schema(required, format = DateTime)]
    suspended_at: Option<String>,
    /// Since when it is being deleted; null if it is not.
    #[schema(required, format = DateTime)]
    deleted_at: Option<String>,
}

impl From<WorkspaceBalance> for WorkspaceOut {
    fn from(WorkspaceBalance { workspace, balance }: WorkspaceBalance) -> Self {
        let time = |at: Option<Micros>| at.map(|at| at.to_string());
        let Pricing { widget, test, api } = workspace.pricing;
        Self {
            id: workspace.id,
            slug: workspace.slug,
            name: workspace.name,
            balance,
            auto_create_conversations: workspace.auto_create_conversations,
            default_assistant_id: workspace.default_assistant,
            pricing: PricingOut { widget, test, api },
            balance_low: workspace.balance_low,
            tokens_per_conversation: workspace.token_budgets.per_conversation,
            tokens_per_day: workspace.token_budgets.per_day,
            allow_hosts: workspace.allow_hosts,
            from_file: workspace.from_file,
            created_at: workspace.created_at.to_string(),
            suspended_at: time(workspace.suspended_at),
            deleted_at: time(workspace.deleted_at),
        }
    }
}

/// What was credited.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Credit)]
pub(super) struct CreditOut {
    /// False if the reference had counted already; nothing was credited then.
    credited: bool,
    #[schema(example = "invoice-1042")]
    reference: String,
    #[schema(example = "50.00")]
    balance: Money,
}

/// List the workspaces.
///
/// The oldest comes first.
#[utoipa::path(
    get, path = "/workspaces", tag = "operator", operation_id = "operatorListWorkspaces", security(("operator" = [])), params(PageQuery),
    responses((status = 200, description = "A page", body = Success<Page<WorkspaceOut>>), ReadErrors<InvalidQuery>),
)]
pub(super) async fn list(
    State(state): State<AppState>,
    _operator: Operator,
    QueryParams(query, _): QueryParams<PageQuery>,
) -> Answer<Page<WorkspaceOut>> {
    let limit = limit(query.limit.as_deref())?;
    let after = WorkspaceCursor::decode(query.cursor.as_deref())?;
    let page = workspaces::list(&state.services, after, limit).await?;
    let workspaces = Page::new(page.items, page.next.map(WorkspaceCursor::encode));
    Ok(Success::new("Workspaces retrieved successfully.", workspaces))
}

/// Create a workspace.
///
/// It has neither assistants nor keys at first.
#[utoipa::path(
    post, path = "/workspaces", tag = "operator", operation_id = "operatorCreateWorkspace", security(("operator" = [])),
    request_body = WorkspaceIn,
    responses((status = 200, description = "The workspace", body = Success<WorkspaceOut>), WriteErrors<(Input<WorkspaceIn>, SlugTaken)>),
)]
pub(super) async fn create(
    State(state): State<AppState>,
    Operator(operator): Operator,
    Input { value: input, .. }: Input<WorkspaceIn>,
) -> Answer<WorkspaceOut> {
    let created = workspaces::create(&state.services, &operator, new_workspace(input)).await?;
    Ok(Success::new("Workspace created successfully.", WorkspaceOut::from(created)))
}

/// Read a workspace.
#[utoipa::path(
    get, path = "/workspaces/{id}", tag = "operator", operation_id = "operatorReadWorkspace", security(("operator" = [])),
    params(("id" = inline(WorkspaceId), Path, description = "wsp_…")),
    responses((status = 200, description = "The workspace", body = Success<WorkspaceOut>), ReadErrors<NotFound<WorkspaceId>>),
)]
pub(super) async fn read(
    State(state): State<AppState>,
    _operator: Operator,
    PathParam(name): PathParam,
) -> Answer<WorkspaceOut> {
    let workspace = workspaces::find(&state.services, &name).await?;
    Ok(Success::new("Workspace retrieved successfully.", WorkspaceOut::from(workspace)))
}

/// Update a workspace.
///
/// All changes of a request are applied together. The settings of a workspace that a file made are changed there.
#[utoipa::path(
    patch, path = "/workspaces/{id}", tag = "operator", operation_id = "operatorUpdateWorkspace", security(("operator" = [])),
    params(("id" = inline(WorkspaceId), Path, description = "wsp_…")), request_body = WorkspaceUpdateIn,
    responses((status = 200, description = "The workspace after the change", body = Success<WorkspaceOut>), WriteErrors<(Input<WorkspaceUpdateIn>, NotFound<WorkspaceId>, NotFound<AssistantId>, WorkspaceConflict)>),
)]
pub(super) async fn update(
    State(state): State<AppState>,
    Operator(operator): Operator,
    PathParam(name): PathParam,
    Input { value: input, .. }: Input<WorkspaceUpdateIn>,
) -> Answer<WorkspaceOut> {
    let settings = settings(input)?;
    let workspace = workspaces::update(&state.services, &operator, &name, settings).await?;
    Ok(Success::new("Workspace updated successfully.", WorkspaceOut::from(workspace)))
}

/// Suspend a workspace.
///
/// Within 5 s no process admits a message of it, its streams end, and its open turns are discarded and refunded. Reading, exports and erasure
/// stay possible.
#[utoipa::path(
    post, path = "/workspaces/{id}/suspend", tag = "operator", operation_id = "operatorSuspendWorkspace", security(("operator" = [])),
    params(("id" = inline(WorkspaceId), Path, description = "wsp_…")),
    responses((status = 200, description = "The workspace, suspended", body = Success<WorkspaceOut>), WriteErrors<(NotFound<WorkspaceId>, BeingDeleted)>),
)]
pub(super) async fn suspend(
    State(state): State<AppState>,
    Operator(operator): Operator,
    PathParam(name): PathParam,
) -> Answer<WorkspaceOut> {
    let workspace = workspaces::suspend(&state.services, &operator, &name).await?;
    Ok(Success::new("Workspace suspended successfully.", WorkspaceOut::from(workspace)))
}

/// Resume a workspace.
///
/// Ends its suspension. Replies that were discarded do not come back.
#[utoipa::path(
    post, path = "/workspaces/{id}/resume", tag = "operator", operation_id = "operatorResumeWorkspace", security(("operator" = [])),
    params(("id" = inline(WorkspaceId), Path, description = "wsp_…")),
    responses((status = 200, description = "The workspace, resumed", body = Success<WorkspaceOut>), WriteErrors<(NotFound<WorkspaceId>, BeingDeleted)>),
)]
pub(super) async fn resume(
    State(state): State<AppState>,
    Operator(operator): Operator,
    PathParam(name): PathParam,
) -> Answer<WorkspaceOut> {
    let workspace = workspaces::resume(&state.services, &operator, &name).await?;
    Ok(Success::new("Workspace resumed successfully.", WorkspaceOut::from(workspace)))
}

/// Delete a suspended workspace.
///
/// Its keys are invalid within 5 s, and all its rows are removed in the background, except the ledger and the audit log. It is found until
/// that is done.
#[utoipa::path(
    delete, path = "/workspaces/{id}", tag = "operator", operation_id = "operatorDeleteWorkspace", security(("operator" = [])),
    params(("id" = inline(WorkspaceId), Path, description = "wsp_…")),
    responses((status = 202, description = "The workspace, which is being deleted", body = Success<WorkspaceOut>), WriteErrors<(NotFound<WorkspaceId>, NotSuspended, BeingDeleted)>),
)]
pub(super) async fn delete(
    State(state): State<AppState>,
    Operator(operator): Operator,
    PathParam(name): PathParam,
) -> Result<Response, ApiError<Platform>> {
    let workspace = workspaces::delete(&state.services, &operator, &name).await?;
    let answer = Success::new("Workspace deletion started.", WorkspaceOut::from(workspace));
    let mut response = answer.into_response();
    *response.status_mut() = StatusCode::ACCEPTED;
    Ok(response)
}

/// Give a workspace credit.
///
/// A reference counts once, so a request whose answer was lost can be repeated.
#[utoipa::path(
    post, path = "/workspaces/{id}/credit", tag = "operator", operation_id = "operatorCreditWorkspace", security(("operator" = [])),
    params(("id" = inline(WorkspaceId), Path, description = "wsp_…")), request_body = CreditIn,
    responses((status = 200, description = "The balance afterwards", body = Success<CreditOut>), WriteErrors<(Input<CreditIn>, NotFound<WorkspaceId>, ReferenceUsed)>),
)]
pub(super) async fn credit(
    State(state): State<AppState>,
    Operator(operator): Operator,
    PathParam(name): PathParam,
    Input { value: CreditIn { amount, reference }, .. }: Input<CreditIn>,
) -> Answer<CreditOut> {
    let outcome =
        workspaces::grant_credit(&state.services, &operator, &name, amount, reference.clone()).await?;
    let (credited, balance) = match outcome {
        CreditOutcome::Granted(entry) => (true, entry.balance_after),
        CreditOutcome::AlreadyGranted { balance } => (false, balance),
    };
    Ok(Success::new("Credit granted successfully.", CreditOut { credited, reference, balance }))
}
