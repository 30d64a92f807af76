//! The workspace itself: its settings, and its opening credit.

use std::collections::HashMap;

use super::changes::differing;
use super::{Action, Applier, ApplyError, CurrentState};
use crate::domain::ids::AssistantId;
use crate::domain::money::Money;
use crate::domain::token_budget::TokenBudgets;
use crate::domain::workspace::Workspace;
use crate::store::{Conn, workspaces};
use crate::writer::TopUp;

/// The ledger reference of the opening credit.
const OPENING: &str = "opening";

impl Applier<'_> {
    pub(super) async fn put_workspace(
        &mut self,
        conn: Conn<'_>,
        current: &CurrentState,
        ids: &HashMap<String, AssistantId>,
    ) -> Result<(), ApplyError> {
        let file = &self.prepared.file.workspace;
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
            retention: file.retention,
        };
        let action = match &current.workspace {
            None => Action::Created,
            Some(old) if *old == after => return Ok(()),
            Some(old) => Action::Changed(changed_keys(old, &after)),
        };
        workspaces::put(conn, &after, self.now).await?;
        self.record_change("workspace", after.slug, action);
        Ok(())
    }

    /// Granted once, when the workspace is created.
    pub(super) fn opening_credit(&self, current: &CurrentState) -> Option<TopUp> {
        let amount = self.prepared.file.workspace.balance;
        let is_granted = current.workspace.is_none() && amount != Money::ZERO;
        is_granted.then(|| TopUp { workspace: self.workspace, amount, reference: OPENING.to_owned() })
    }
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
