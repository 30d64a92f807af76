//! The workspaces, and their credit.

use axum::extract::State;
use axum::response::{IntoResponse as _, Response};
use http::StatusCode;
use serde::Serialize;
use utoipa::ToSchema;

use super::workspace_fields::{Hosts, Prices, RetentionPeriods, Slug};
use super::{Answer, ReadErrors, WriteErrors};
use crate::domain::clock::Micros;
use crate::domain::error::Error;
use crate::domain::ids::{AssistantId, ResourceId as _, WorkspaceId};
use crate::domain::money::Money;
use crate::domain::render::Success;
use crate::domain::retention::{Retention, format_duration};
use crate::domain::workspace::Pricing;
use crate::http::describe::{NotFound, error_sets};
use crate::http::envelope::{ApiError, Platform};
use crate::http::extract::{Input, NoInput, Operator, PathParam, QueryParams};
use crate::http::fields::{Amount, Clearable, Flag, Id, Integer, Text, request};
use crate::http::platform::list::{Cursor, InvalidQuery, PageParams, PageQuery, limit};
use crate::http::response::Page;
use crate::http::state::AppState;
use crate::service::credit::{CreditOutcome, MAX_REFERENCE};
use crate::service::workspaces::{self, NewWorkspace, WorkspaceBalance, WorkspaceSettings};

type WorkspaceCursor = Cursor<WorkspaceId, 'p'>;

request! {
    /// A new workspace, with the settings of the table `[workspace]` of a workspace file.
    pub(super) struct WorkspaceIn as NewWorkspace {
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
        /// How long conversations, journals and the personal fields of bookings are kept; by default until they are erased.
        retention: Option<RetentionPeriods> = {"conversations": "365d", "journals": "30d", "bookings": "90d"},
        /// Private hosts that tools and webhooks may reach.
        allow_hosts: Option<Hosts> = ["crm.internal:8080"],
    }
}

request! {
    /// Changes to a workspace.
    pub(super) struct WorkspaceUpdateIn as WorkspaceUpdate update {
        name: Option<Text<200>> = "Acme",
        auto_create_conversations: Option<Flag>,
        /// The assistant of new conversations of the platform API. `null` removes it.
        default_assistant_id: Option<Clearable<Id<AssistantId>>>,
        /// Prices that are left out stay.
        pricing: Option<Prices> = {"widget": "0.01"},
        /// `null` removes it.
        balance_low: Option<Clearable<Amount>> = "5.00",
        /// `null` removes the limit.
        tokens_per_conversation: Option<Clearable<Integer<i64, 1, 9_007_199_254_740_991>>>,
        /// `null` removes the limit.
        tokens_per_day: Option<Clearable<Integer<i64, 1, 9_007_199_254_740_991>>>,
        /// Periods that are left out stay. `null` removes one.
        retention: Option<RetentionPeriods> = {"journals": "30d"},
        /// Replaces the list.
        allow_hosts: Option<Hosts> = ["crm.internal:8080"],
    }
}

request! {
    /// Credit.
    pub(super) struct CreditIn as NewCredit {
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
            retention: input.retention.unwrap_or_default(),
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
        retention,
        allow_hosts,
    } = input;
    let assistant = |id: Option<String>| id.map(|id| AssistantId::parse(&id)).transpose();
    Ok(WorkspaceSettings {
        name,
        auto_create_conversations,
        default_assistant: default_assistant_id.map(assistant).transpose()?,
        pricing: pricing.unwrap_or_default(),
        balance_low,
        tokens_per_conversation,
        tokens_per_day,
        retention: retention.unwrap_or_default(),
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

    /// Credit that the present state refuses.
    NotCredited {
        "The reference has counted for another amount, the balance would become negative, or the workspace is being deleted" => Error::Conflict(
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

/// How long a workspace keeps personal data. Data whose period is null is kept until it is erased.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Retention)]
struct RetentionOut {
    /// Conversations, counted from their last message or their end.
    #[schema(required, example = "365d")]
    conversations: Option<String>,
    /// Requests to models and tools, and their answers, counted from the `created_at` of the turn.
    #[schema(required, example = "30d")]
    journals: Option<String>,
    /// The title, name, e-mail address and notes of bookings, counted from the end of the appointment.
    #[schema(required, example = "90d")]
    bookings: Option<String>,
}

impl From<Retention> for RetentionOut {
    fn from(Retention { conversations, journals, bookings }: Retention) -> Self {
        Self {
            conversations: conversations.map(format_duration),
            journals: journals.map(format_duration),
            bookings: bookings.map(format_duration),
        }
    }
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
    #[schema(inline)]
    retention: RetentionOut,
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
            retention: workspace.retention.into(),
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
    get, path = "/workspaces", tag = "operator", operation_id = "operatorListWorkspaces", security(("operator" = [])), params(PageParams::<WorkspaceCursor>),
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
/// Messages and new conversations are refused at once; within 5 s, other changes of `/v1` are refused and streams end. Open turns are
/// discarded and refunded. Reading, exports, erasure and keys keep working.
#[utoipa::path(
    post, path = "/workspaces/{id}/suspend", tag = "operator", operation_id = "operatorSuspendWorkspace", security(("operator" = [])),
    params(("id" = inline(WorkspaceId), Path, description = "wsp_…")),
    responses((status = 200, description = "The workspace, suspended", body = Success<WorkspaceOut>), WriteErrors<(NoInput, NotFound<WorkspaceId>, BeingDeleted)>),
)]
pub(super) async fn suspend(
    State(state): State<AppState>,
    Operator(operator): Operator,
    PathParam(name): PathParam,
    _: NoInput,
) -> Answer<WorkspaceOut> {
    let workspace = workspaces::set_suspended(&state.services, &operator, &name, true).await?;
    Ok(Success::new("Workspace suspended successfully.", WorkspaceOut::from(workspace)))
}

/// Resume a workspace.
///
/// Ends its suspension. Replies that were discarded do not come back.
#[utoipa::path(
    post, path = "/workspaces/{id}/resume", tag = "operator", operation_id = "operatorResumeWorkspace", security(("operator" = [])),
    params(("id" = inline(WorkspaceId), Path, description = "wsp_…")),
    responses((status = 200, description = "The workspace, resumed", body = Success<WorkspaceOut>), WriteErrors<(NoInput, NotFound<WorkspaceId>, BeingDeleted)>),
)]
pub(super) async fn resume(
    State(state): State<AppState>,
    Operator(operator): Operator,
    PathParam(name): PathParam,
    _: NoInput,
) -> Answer<WorkspaceOut> {
    let workspace = workspaces::set_suspended(&state.services, &operator, &name, false).await?;
    Ok(Success::new("Workspace resumed successfully.", WorkspaceOut::from(workspace)))
}

/// Delete a suspended workspace.
///
/// Its keys are rejected within 5 s, and its rows are removed in the background; until that is done, the workspace can be read. The ledger,
/// the usage, the audit log, and the workspace's id, prices, limits and times stay; appointments stay on their CalDAV servers.
#[utoipa::path(
    delete, path = "/workspaces/{id}", tag = "operator", operation_id = "operatorDeleteWorkspace", security(("operator" = [])),
    params(("id" = inline(WorkspaceId), Path, description = "wsp_…")),
    responses((status = 202, description = "The workspace, which is being deleted", body = Success<WorkspaceOut>), WriteErrors<(NoInput, NotFound<WorkspaceId>, NotSuspended, BeingDeleted)>),
)]
pub(super) async fn delete(
    State(state): State<AppState>,
    Operator(operator): Operator,
    PathParam(name): PathParam,
    _: NoInput,
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
    responses((status = 200, description = "The balance afterwards", body = Success<CreditOut>), WriteErrors<(Input<CreditIn>, NotFound<WorkspaceId>, NotCredited)>),
)]
pub(super) async fn credit(
    State(state): State<AppState>,
    Operator(operator): Operator,
    PathParam(name): PathParam,
    Input { value: CreditIn { amount, reference }, .. }: Input<CreditIn>,
) -> Answer<CreditOut> {
    let outcome =
        workspaces::grant_credit(&state.services, &operator, &name, amount, reference.clone()).await?;
    let (message, credited, balance) = match outcome {
        CreditOutcome::Granted(entry) if amount < Money::ZERO => {
            ("Credit taken back successfully.", true, entry.balance_after)
        }
        CreditOutcome::Granted(entry) => ("Credit granted successfully.", true, entry.balance_after),
        CreditOutcome::AlreadyGranted { balance } => {
            ("The reference has counted already. Nothing was credited.", false, balance)
        }
    };
    Ok(Success::new(message, CreditOut { credited, reference, balance }))
}
