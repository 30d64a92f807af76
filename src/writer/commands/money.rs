//! Charges, refunds and top-ups: each one numbered entry, with the balance after it.

use super::{Batch, TopUp, WorkspaceRow};
use crate::domain::error::Error;
use crate::domain::event::EventType;
use crate::domain::ids::{ConversationId, TurnId, WorkspaceId};
use crate::domain::ledger::{LedgerEntry, LedgerKind};
use crate::domain::money::Money;
use crate::domain::render::EventData;

impl Batch<'_> {
    /// Takes the price of a turn. The caller has seen that the balance covers it.
    pub(super) fn charge(
        &mut self,
        workspace: WorkspaceId,
        conversation: ConversationId,
        turn: TurnId,
        price: Money,
    ) {
        if price == Money::ZERO {
            return;
        }
        self.post(workspace, LedgerKind::Charge, price.negated(), Some(turn), None);
        self.spend(workspace, conversation, price.0);
        self.notify_low_balance(workspace);
    }

    /// Gives back exactly what a turn was charged.
    pub(super) fn refund(
        &mut self,
        workspace: WorkspaceId,
        conversation: ConversationId,
        turn: TurnId,
        price: Money,
    ) {
        if price == Money::ZERO {
            return;
        }
        self.post(workspace, LedgerKind::Refund, price, Some(turn), None);
        self.spend(workspace, conversation, -price.0);
    }

    pub(super) fn top_up(&mut self, top_up: &TopUp) -> Result<LedgerEntry, Error> {
        let key = (top_up.workspace, top_up.reference.clone());
        let Some(row) = self.tables.workspaces.get(&top_up.workspace) else {
            return Err(Error::invalid("workspace", "There is no such workspace."));
        };
        if self.tables.references.contains_key(&key) {
            return Err(Error::invalid(
                "reference",
                "A top-up with this reference has been counted already.",
            ));
        }
        if row.state.balance.checked_add(top_up.amount).is_none_or(|balance| balance < Money::ZERO) {
            return Err(Error::invalid("amount", "The balance after it would be below zero or too large."));
        }
        let entry = self.post(
            top_up.workspace,
            LedgerKind::TopUp,
            top_up.amount,
            None,
            Some(top_up.reference.clone()),
        );
        self.tables.references.insert(key, entry.number);
        self.reset_low_balance_notice(top_up.workspace);
        Ok(entry)
    }

    fn post(
        &mut self,
        workspace: WorkspaceId,
        kind: LedgerKind,
        amount: Money,
        turn: Option<TurnId>,
        reference: Option<String>,
    ) -> LedgerEntry {
        let mut number = 0;
        let mut balance = Money::ZERO;
        if let Some(row) = self.tables.workspaces.get_mut(&workspace) {
            number = row.state.next_ledger_number;
            row.state.next_ledger_number += 1;
            row.state.balance = Money(row.state.balance.0.saturating_add(amount.0));
            balance = row.state.balance;
        }
        let entry = LedgerEntry {
            workspace,
            number,
            kind,
            amount,
            balance_after: balance,
            turn,
            reference,
            created_at: self.context.clock.now(),
        };
        self.changes.ledger.push(entry.clone());
        self.changes.touch_workspace(workspace);
        entry
    }

    fn spend(&mut self, workspace: WorkspaceId, conversation: ConversationId, micros: i64) {
        if let Some(conversation) = self.tables.conversations.get_mut(&conversation) {
            conversation.spent += micros;
            self.changes.touch_conversation(conversation.id);
        }
        self.daily_usage(workspace);
        if let Some(row) = self.tables.workspaces.get_mut(&workspace) {
            // A refund counts on the day on which it is given; what was charged yesterday lowers no day below zero.
            row.state.day_spent.0 = (row.state.day_spent.0 + micros).max(0);
        }
    }

    fn notify_low_balance(&mut self, workspace: WorkspaceId) {
        let Some(row) = self.tables.workspaces.get_mut(&workspace) else { return };
        let Some(threshold) = row.settings.balance_low else { return };
        if row.state.low_notified || row.state.balance >= threshold {
            return;
        }
        row.state.low_notified = true;
        let balance = row.state.balance;
        self.emit(workspace, EventType::BalanceLow, &EventData::Balance { balance, threshold });
    }

    fn reset_low_balance_notice(&mut self, workspace: WorkspaceId) {
        if let Some(row) = self.tables.workspaces.get_mut(&workspace)
            && is_above_threshold(row)
        {
            row.state.low_notified = false;
        }
    }
}

fn is_above_threshold(row: &WorkspaceRow) -> bool {
    row.settings.balance_low.is_none_or(|threshold| row.state.balance >= threshold)
}
