//! Grants credit to a workspace.

use std::sync::Arc;

use serde_json::{Value, json};

use super::Decision;
use crate::domain::audit::{Actor, AuditAction, AuditEntry, AuditObject, ObjectKind};
use crate::domain::clock::Micros;
use crate::domain::error::Error;
use crate::domain::ids::WorkspaceId;
use crate::domain::ledger::{LedgerEntry, LedgerKind};
use crate::domain::money::Money;
use crate::writer::batch::{Batch, LoadPlan};

/// Credit, or a deduction if `amount` is negative; each reference counts once.
#[derive(Clone, Debug)]
pub struct TopUp {
    pub workspace: WorkspaceId,
    pub amount: Money,
    pub reference: String,
    pub actor: Arc<Actor>,
}

impl Decision for TopUp {
    type Reply = LedgerEntry;

    fn plan(&self, plan: &mut LoadPlan, _now: Micros) {
        plan.workspaces.insert(self.workspace);
        plan.references.insert((self.workspace, self.reference.clone()));
    }

    fn decide(&self, batch: &mut Batch<'_>) -> Result<LedgerEntry, Error> {
        let key = (self.workspace, self.reference.clone());
        let Some(row) = batch.tables.workspaces.get(&self.workspace) else {
            return Err(Error::invalid("workspace", "There is no such workspace."));
        };
        if batch.tables.references.contains_key(&key) {
            return Err(Error::invalid(
                "reference",
                "A top-up with this reference has been counted already.",
            ));
        }
        if row.state.balance.checked_add(self.amount).is_none_or(|balance| balance < Money::ZERO) {
            return Err(Error::invalid("amount", "The balance after it would be below zero or too large."));
        }
        let slug = row.config.settings.slug.clone();
        let reference = Some(self.reference.clone());
        let entry = batch.post(self.workspace, LedgerKind::TopUp, self.amount, None, reference);
        batch.tables.references.insert(key, entry.number);
        batch.reset_low_balance_notice(self.workspace);
        let object = AuditObject::new(ObjectKind::Workspace, self.workspace, Some(&slug));
        let credited = json!({ "amount": self.amount, "reference": self.reference });
        let audited = AuditEntry::new(self.workspace, &self.actor, AuditAction::Credited, object);
        batch.audit(&self.actor, audited.with_changes(Value::Null, credited));
        Ok(entry)
    }
}
