//! Manages workspaces, for the operator's API: create, update, suspend, resume, delete, and grant credit; and their default assistant, also
//! for their own keys. An operator sees settings and money,
//! and no text of a conversation.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::{Value, json};

use super::Services;
use super::audit_log;
use super::configuration::managed_by_file;
use super::credit::{self, CreditError, CreditOutcome, MAX_REFERENCE, OPENING_REFERENCE};
use super::current_key::{self, Credentials};
use super::page::Page;
use super::write_error::write_error;
use crate::domain::account::{Account, OperatorAccount};
use crate::domain::api_key::ApiKey;
use crate::domain::audit::{Actor, AuditAction, AuditEntry, AuditObject, ObjectKind};
use crate::domain::error::Error;
use crate::domain::ids::{AssistantId, ResourceId as _, WorkspaceId};
use crate::domain::money::Money;
use crate::domain::retention::{Retention, RetentionPatch};
use crate::domain::token_budget::TokenBudgets;
use crate::domain::workspace::{Pricing, Workspace};
pub use crate::store::workspaces::WorkspaceBalance;
use crate::store::{Conn, StoreError, Tenant, assistants, keys, workspaces};
use crate::writer::{TopUp, decide_inline};

/// Settings to write. `None` leaves a setting as it is, or at its default.
#[derive(Clone, Debug, Default)]
pub struct WorkspaceSettings {
    pub name: Option<String>,
    pub auto_create_conversations: Option<bool>,
    pub default_assistant: Option<Option<AssistantId>>,
    pub pricing: PricingPatch,
    pub balance_low: Option<Option<Money>>,
    pub tokens_per_conversation: Option<Option<i64>>,
    pub tokens_per_day: Option<Option<i64>>,
    pub retention: RetentionPatch,
    /// Checked.
    pub allow_hosts: Option<Vec<String>>,
}

/// Prices to write.
#[derive(Clone, Copy, Debug, Default)]
pub struct PricingPatch {
    pub widget: Option<Money>,
    pub test: Option<Money>,
    pub api: Option<Money>,
}

impl WorkspaceSettings {
    fn apply(self, workspace: &mut Workspace) {
        let Self { name, auto_create_conversations, default_assistant, pricing, balance_low, .. } = self;
        workspace.name = name.unwrap_or_else(|| std::mem::take(&mut workspace.name));
        workspace.auto_create_conversations =
            auto_create_conversations.unwrap_or(workspace.auto_create_conversations);
        workspace.default_assistant = default_assistant.unwrap_or(workspace.default_assistant);
        let before = workspace.pricing;
        workspace.pricing = Pricing {
            widget: pricing.widget.unwrap_or(before.widget),
            test: pricing.test.unwrap_or(before.test),
            api: pricing.api.unwrap_or(before.api),
        };
        workspace.balance_low = balance_low.unwrap_or(workspace.balance_low);
        let budgets = workspace.token_budgets;
        workspace.token_budgets = TokenBudgets {
            per_conversation: self.tokens_per_conversation.unwrap_or(budgets.per_conversation),
            per_day: self.tokens_per_day.unwrap_or(budgets.per_day),
        };
        workspace.retention = workspace.retention.patched(self.retention);
        workspace.allow_hosts =
            self.allow_hosts.unwrap_or_else(|| std::mem::take(&mut workspace.allow_hosts));
    }
}

/// A new workspace.
#[derive(Clone, Debug)]
pub struct NewWorkspace {
    pub slug: String,
    /// With a name, and without a default assistant.
    pub settings: WorkspaceSettings,
    /// The opening credit.
    pub balance: Money,
}

/// At most `limit` workspaces after one, the oldest first.
pub async fn list(
    services: &Services,
    after: Option<WorkspaceId>,
    limit: usize,
) -> Result<Page<WorkspaceBalance, WorkspaceId>, Error> {
    let list = async |conn: Conn<'_>, rows| workspaces::list_after(conn, after, rows).await;
    Page::read(&services.db, Tenant::Process, limit, list, |found| found.workspace.id).await
}

/// The workspace with this id, as it was sent, with its balance.
pub async fn find(services: &Services, name: &str) -> Result<WorkspaceBalance, Error> {
    let id = WorkspaceId::parse(name)?;
    let find = async |mut conn: Conn<'_>| {
        let Some(workspace) = workspaces::find(conn.reborrow(), id).await? else { return Ok(None) };
        let balance = workspaces::balance(conn, id).await?.unwrap_or(Money::ZERO);
        Ok(Some(WorkspaceBalance { workspace, balance }))
    };
    services.db.read(id, find).await?.ok_or_else(|| WorkspaceId::not_found(name))
}

/// The workspace with this id, as it was sent, unless it is being deleted.
pub async fn find_present(services: &Services, name: &str) -> Result<Workspace, Error> {
    let WorkspaceBalance { workspace, .. } = find(services, name).await?;
    if workspace.deleted_at.is_some() { Err(being_deleted()) } else { Ok(workspace) }
}

fn being_deleted() -> Error {
    Error::Conflict("The workspace is being deleted.".to_owned())
}

/// The workspace and the key of an account.
pub async fn find_own(services: &Services, account: &Account) -> Result<(Workspace, ApiKey), Error> {
    let find = async |mut conn: Conn<'_>| {
        let workspace = workspaces::find(conn.reborrow(), account.workspace).await?;
        Ok(workspace.zip(keys::find_by_id(conn, account.workspace, account.key).await?))
    };
    services.db.read(account.workspace, find).await?.ok_or(Error::Unauthenticated)
}

/// Creates a workspace, with its opening credit.
pub async fn create(
    services: &Services,
    operator: &OperatorAccount,
    new: NewWorkspace,
) -> Result<WorkspaceBalance, Error> {
    let (clock, ids) = (services.clock.as_ref(), services.ids.as_ref());
    let NewWorkspace { slug, settings, balance } = new;
    let mut workspace = Workspace {
        id: WorkspaceId(ids.uuid_v7(clock)),
        slug,
        name: String::new(),
        auto_create_conversations: true,
        default_assistant: None,
        pricing: Pricing::default(),
        balance_low: None,
        allow_hosts: Vec::new(),
        token_budgets: TokenBudgets::UNLIMITED,
        retention: Retention::default(),
        from_file: false,
        created_at: clock.now(),
        suspended_at: None,
        deleted_at: None,
    };
    settings.apply(&mut workspace);
    let write = async |mut conn: Conn<'_>| {
        if let Err(error) = current_key::check_operator(conn.reborrow(), clock, operator).await? {
            return Ok(Err(error));
        }
        if workspaces::find_by_slug(conn.reborrow(), &workspace.slug).await?.is_some() {
            return Ok(Err(slug_taken(&workspace.slug)));
        }
        workspaces::put(conn.reborrow(), &workspace).await?;
        if balance != Money::ZERO {
            let reference = OPENING_REFERENCE.to_owned();
            let actor = Arc::clone(&operator.actor);
            let command = TopUp { workspace: workspace.id, amount: balance, reference, actor };
            if let Err(error) = decide_inline(conn.reborrow(), clock, ids, &command).await? {
                return Ok(Err(error));
            }
        }
        let entry = entry(&workspace, &operator.actor, AuditAction::Created);
        let mut fields = audit_fields(&workspace);
        fields["balance"] = json!(balance);
        audit_log::record(conn, clock, ids, &entry.with_changes(Value::Null, fields)).await?;
        Ok(Ok(()))
    };
    match services.db.write(Tenant::Process, write).await {
        // Another request has created it at the same time.
        Err(StoreError::Data(_)) => return Err(slug_taken(&workspace.slug)),
        written => written.map_err(write_error)??,
    }
    Ok(WorkspaceBalance { workspace, balance })
}

fn slug_taken(slug: &str) -> Error {
    Error::Conflict(format!("The slug '{slug}' is taken."))
}

/// Updates the settings of a workspace that no file manages.
pub async fn update(
    services: &Services,
    operator: &OperatorAccount,
    name: &str,
    settings: WorkspaceSettings,
) -> Result<WorkspaceBalance, Error> {
    update_by(services, Credentials::Operator(operator), WorkspaceId::parse(name)?, settings).await
}

/// Sets or removes the default assistant of a key's own workspace, unless a file manages that.
pub async fn set_default_assistant(
    services: &Services,
    account: &Account,
    assistant: Option<AssistantId>,
) -> Result<Workspace, Error> {
    let settings = WorkspaceSettings { default_assistant: Some(assistant), ..WorkspaceSettings::default() };
    let updated = update_by(services, Credentials::Key(account), account.workspace, settings).await?;
    Ok(updated.workspace)
}

async fn update_by(
    services: &Services,
    credentials: Credentials<'_>,
    id: WorkspaceId,
    settings: WorkspaceSettings,
) -> Result<WorkspaceBalance, Error> {
    let change = async |mut conn: Conn<'_>, workspace: &mut Workspace| {
        if workspace.from_file {
            return Ok(Err(managed_by_file("workspace", &workspace.slug)));
        }
        if let Some(Some(assistant)) = settings.default_assistant {
            let found = assistants::summaries(conn.reborrow(), &[(workspace.id, assistant)].into()).await?;
            if !found.iter().any(|(id, summary)| *id == assistant && !summary.archived) {
                return Ok(Err(AssistantId::not_found(assistant)));
            }
        }
        settings.clone().apply(workspace);
        Ok(Ok(()))
    };
    change_workspace(services, credentials, id, AuditAction::Updated, change).await
}

/// Suspends a workspace, or ends its suspension. A suspended one admits no message any more, and its open turns are discarded and refunded.
/// Every process knows it within five seconds. Doing it again changes nothing.
pub async fn set_suspended(
    services: &Services,
    operator: &OperatorAccount,
    name: &str,
    is_suspended: bool,
) -> Result<WorkspaceBalance, Error> {
    let now = services.clock.now();
    let change = async |_: Conn<'_>, workspace: &mut Workspace| {
        workspace.suspended_at = is_suspended.then(|| workspace.suspended_at.unwrap_or(now));
        Ok(Ok(()))
    };
    let action = if is_suspended { AuditAction::Suspended } else { AuditAction::Resumed };
    change_workspace(services, Credentials::Operator(operator), WorkspaceId::parse(name)?, action, change)
        .await
}

/// Deletes a suspended workspace: its keys are invalid from now on, and its rows are removed in the background. The ledger, the usage and
/// the audit log stay, and the row of the workspace without its slug and name.
pub async fn delete(
    services: &Services,
    operator: &OperatorAccount,
    name: &str,
) -> Result<WorkspaceBalance, Error> {
    let now = services.clock.now();
    let change = async |_: Conn<'_>, workspace: &mut Workspace| {
        if workspace.suspended_at.is_none() {
            return Ok(Err(Error::Conflict("Suspend the workspace before you delete it.".to_owned())));
        }
        workspace.deleted_at = Some(now);
        Ok(Ok(()))
    };
    let id = WorkspaceId::parse(name)?;
    change_workspace(services, Credentials::Operator(operator), id, AuditAction::Deleted, change).await
}

/// Changes a workspace that is not deleted, under its lock, with an entry of the audit log if anything differs.
async fn change_workspace(
    services: &Services,
    credentials: Credentials<'_>,
    id: WorkspaceId,
    action: AuditAction,
    change: impl AsyncFnOnce(Conn<'_>, &mut Workspace) -> Result<Result<(), Error>, StoreError>,
) -> Result<WorkspaceBalance, Error> {
    let (clock, ids) = (services.clock.as_ref(), services.ids.as_ref());
    let write = async |mut conn: Conn<'_>| {
        let locked = workspaces::lock(conn.reborrow(), &[id].into()).await?;
        if let Err(error) = credentials.check(conn.reborrow(), clock).await? {
            return Ok(Err(error));
        }
        let found = workspaces::find(conn.reborrow(), id).await?;
        let (Some((_, state)), Some(before)) = (locked.first(), found) else {
            return Ok(Err(WorkspaceId::not_found(id)));
        };
        if before.deleted_at.is_some() {
            return Ok(Err(being_deleted()));
        }
        let mut workspace = before.clone();
        if let Err(error) = change(conn.reborrow(), &mut workspace).await? {
            return Ok(Err(error));
        }
        if workspace != before {
            workspaces::put(conn.reborrow(), &workspace).await?;
            let entry = entry(&workspace, credentials.actor(), action);
            let entry = entry.with_changes(audit_fields(&before), audit_fields(&workspace));
            audit_log::record(conn, clock, ids, &entry).await?;
        }
        Ok(Ok(WorkspaceBalance { workspace, balance: state.balance }))
    };
    services.db.write(id, write).await.map_err(write_error)?
}

/// Grants credit, once for each reference; a negative amount deducts it.
pub async fn grant_credit(
    services: &Services,
    operator: &OperatorAccount,
    name: &str,
    amount: Money,
    reference: String,
) -> Result<CreditOutcome, Error> {
    let workspace = find_present(services, name).await?;
    let actor = Arc::clone(&operator.actor);
    let command = TopUp { workspace: workspace.id, amount, reference, actor };
    let clock = services.clock.as_ref();
    let write = async |mut conn: Conn<'_>| {
        workspaces::lock(conn.reborrow(), &[workspace.id].into()).await?;
        if let Err(error) = current_key::check_operator(conn.reborrow(), clock, operator).await? {
            return Ok(Err(error));
        }
        Ok(credit::grant(conn, clock, &services.ids, &command).await?.map_err(credit_error))
    };
    services.db.write(workspace.id, write).await.map_err(write_error)?
}

fn credit_error(error: CreditError) -> Error {
    match error {
        CreditError::Refused { balance, .. } => Error::Conflict(format!(
            "The balance of {balance} would become negative or too large. Nothing was credited."
        )),
        CreditError::AmountMismatch { reference, amount } => Error::Conflict(format!(
            "The reference '{reference}' has counted already, for {amount}. Nothing was credited."
        )),
        CreditError::Store(error) | CreditError::OutcomeUnknown(error) => write_error(error),
        CreditError::InvalidReference => {
            let text = format!("Field 'reference' must have 1 to {MAX_REFERENCE} characters.");
            Error::invalid("reference", text)
        }
        CreditError::ZeroAmount => Error::invalid("amount", "Field 'amount' must not be zero."),
        CreditError::UnknownWorkspace(name) => WorkspaceId::not_found(name),
    }
}

fn entry<'a>(workspace: &Workspace, actor: &'a Actor, action: AuditAction) -> AuditEntry<'a> {
    let object = AuditObject::new(ObjectKind::Workspace, workspace.id, Some(&workspace.slug));
    AuditEntry::new(workspace.id, actor, action, object)
}

fn audit_fields(workspace: &Workspace) -> Value {
    let Pricing { widget, test, api } = workspace.pricing;
    json!({
        "slug": workspace.slug,
        "name": workspace.name,
        "auto_create_conversations": workspace.auto_create_conversations,
        "default_assistant_id": workspace.default_assistant,
        "pricing": { "widget": widget, "test": test, "api": api },
        "balance_low": workspace.balance_low,
        "tokens_per_conversation": workspace.token_budgets.per_conversation,
        "tokens_per_day": workspace.token_budgets.per_day,
        "retention": BTreeMap::from(workspace.retention.texts()),
        "allow_hosts": workspace.allow_hosts,
        "suspended_at": workspace.suspended_at.map(|at| at.to_string()),
        "deleted_at": workspace.deleted_at.map(|at| at.to_string()),
    })
}
