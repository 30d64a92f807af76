//! Entries of the audit log, which are written with the changes that they tell of.

use std::sync::Arc;

use serde_json::Value;

use super::Batch;
use crate::domain::audit::{Actor, AuditAction, AuditEntry, AuditObject};
use crate::domain::clock::Micros;
use crate::domain::ids::{AuditId, WorkspaceId};

/// An entry to write.
#[derive(Clone, Debug)]
pub struct AuditRecord {
    pub id: AuditId,
    pub at: Micros,
    workspace: Option<WorkspaceId>,
    actor: Arc<Actor>,
    action: AuditAction,
    object: AuditObject,
    before: Value,
    after: Value,
}

impl AuditRecord {
    pub(in crate::writer) fn entry(&self) -> AuditEntry<'_> {
        AuditEntry {
            workspace: self.workspace,
            actor: &self.actor,
            action: self.action,
            object: self.object.clone(),
            before: self.before.clone(),
            after: self.after.clone(),
        }
    }
}

impl Batch<'_> {
    /// Adds an entry. `actor` is that of the entry.
    pub(in crate::writer) fn audit(&mut self, actor: &Arc<Actor>, entry: AuditEntry<'_>) {
        let AuditEntry { workspace, actor: _, action, object, before, after } = entry;
        self.changes.audit.push(AuditRecord {
            id: AuditId(self.context.ids.uuid_v7(self.context.clock)),
            at: self.context.clock.now(),
            workspace,
            actor: Arc::clone(actor),
            action,
            object,
            before,
            after,
        });
    }
}
