//! The workspace itself: its settings, and its opening credit.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use serde_json::json;

use super::changes::differing;
use super::{Action, Applier, ApplyError, CurrentState, Values};
use crate::domain::audit::ObjectKind;
use crate::domain::ids::AssistantId;
use crate::domain::money::Money;
use crate::domain::token_budget::TokenBudgets;
use crate::domain::workspace::Workspace;
use crate::service::credit::OPENING_REFERENCE;
use crate::store::{Conn, workspaces};
use crate::writer::TopUp;

impl Applier<'_> {
    pub(super) async fn put_workspace(
        &mut self,
        conn: Conn<'_>,
        current: &CurrentState,
        ids: &HashMap<String, AssistantId>,
    ) -> Result<(), ApplyError> {
        let file = &self.prepared.file.workspace;
        if let Some(old) = &current.workspace {
            super::reject_api_owned("workspace", &old.slug, old.from_file)?;
            if old.deleted_at.is_some() {
                let slug = &old.slug;
                return Err(ApplyError::Refused(format!(
                    "workspace \"{slug}\" is being deleted; try again later"
                )));
            }
        }
        let after = Workspace {
            id: self.workspace,
            slug: file.slug.clone(),
            name: file.name.clone(),
            auto_create_conversations: file.auto_create_conversations,
            default_assistant: file.default_assistant.as_ref().and_then(|slug| ids.get(slug)).copied(),
            pricing: file.pricing,
            balance_low: file.balance_low,
            allow_hosts: file.allow_hosts.iter().map(|host| host.trim().to_owned()).collect(),
            token_budgets: TokenBudgets::new(file.tokens_per_conversation, file.tokens_per_day),
            from_file: true,
            created_at: current.workspace.as_ref().map_or(self.now, |old| old.created_at),
            suspended_at: current.workspace.as_ref().and_then(|old| old.suspended_at),
            deleted_at: None,
            retention: file.retention,
        };
        let action = match &current.workspace {
            None => Action::Created,
            Some(old) if *old == after => return Ok(()),
            Some(old) => Action::Changed(changed_keys(old, &after)),
        };
        workspaces::put(conn, &after).await?;
        let (old_fields, new_fields) = (current.workspace.as_ref().map(fields), fields(&after));
        let values = Values { before: old_fields.as_deref(), after: Some(&new_fields) };
        self.record_change(ObjectKind::Workspace, after.id, &after.slug, action, values);
        Ok(())
    }

    /// Granted once, when the workspace is created.
    pub(super) fn opening_credit(&self, current: &CurrentState) -> Option<TopUp> {
        let amount = self.prepared.file.workspace.balance;
        let is_granted = current.workspace.is_none() && amount != Money::ZERO;
        is_granted.then(|| TopUp {
            workspace: self.workspace,
            amount,
            reference: OPENING_REFERENCE.to_owned(),
            actor: Arc::clone(self.actor),
        })
    }
}

/// The settings that the audit log shows, as JSON, by the names of [`changed_keys`].
fn fields(workspace: &Workspace) -> String {
    let prices = workspace.pricing;
    json!({
        "name": workspace.name,
        "auto_create_conversations": workspace.auto_create_conversations,
        "default_assistant": workspace.default_assistant,
        "pricing": { "widget": prices.widget, "test": prices.test, "api": prices.api },
        "balance_low": workspace.balance_low,
        "tokens_per_conversation": workspace.token_budgets.per_conversation,
        "tokens_per_day": workspace.token_budgets.per_day,
        "retention": BTreeMap::from(workspace.retention.texts()),
        "allow_hosts": workspace.allow_hosts,
    })
    .to_string()
}

fn changed_keys(old: &Workspace, new: &Workspace) -> Vec<String> {
    let (old_budgets, new_budgets) = (old.token_budgets, new.token_budgets);
    differing([
        ("name", old.name != new.name),
        ("auto_create_conversations", old.auto_create_conversations != new.auto_create_conversations),
        ("default_assistant", old.default_assistant != new.default_assistant),
        ("pricing", old.pricing != new.pricing),
        ("balance_low", old.balance_low != new.balance_low),
        ("tokens_per_conversation", old_budgets.per_conversation != new_budgets.per_conversation),
        ("tokens_per_day", old_budgets.per_day != new_budgets.per_day),
        ("retention", old.retention != new.retention),
        ("allow_hosts", old.allow_hosts != new.allow_hosts),
    ])
}
