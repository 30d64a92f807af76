//! The ledger: each movement is a numbered entry with the balance after it.

use super::{Batch, WorkspaceRow};
use crate::domain::event::EventType;
use crate::domain::ids::{ConversationId, TurnId, WorkspaceId};
use crate::domain::ledger::{LedgerEntry, LedgerKind};
use crate::domain::money::Money;
use crate::domain::render::EventData;

impl Batch<'_> {
    /// Charges the price of a turn, which the balance must cover.
    pub(in crate::writer) fn charge(
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
        self.spend(workspace, conversation, price);
        self.notify_low_balance(workspace);
    }

    /// Refunds the price of a turn. Its charge still counts towards the caps on spending: its model calls cost the operator as much
    /// as those of a reply, and a visitor may provoke failures.
    pub(in crate::writer) fn refund(&mut self, workspace: WorkspaceId, turn: TurnId, price: Money) {
        if price == Money::ZERO {
            return;
        }
        self.post(workspace, LedgerKind::Refund, price, Some(turn), None);
    }

    /// Appends an entry and updates the balance.
    pub(in crate::writer) fn post(
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

    fn spend(&mut self, workspace: WorkspaceId, conversation: ConversationId, price: Money) {
        if let Some(conversation) = self.tables.conversations.get_mut(&conversation) {
            conversation.spent += price.0;
            self.changes.touch_conversation(conversation.id);
        }
        self.daily_usage(workspace);
        if let Some(row) = self.tables.workspaces.get_mut(&workspace) {
            row.state.day_spent.0 += price.0;
        }
    }

    fn notify_low_balance(&mut self, workspace: WorkspaceId) {
        let Some(row) = self.tables.workspaces.get_mut(&workspace) else { return };
        let Some(threshold) = row.config.settings.balance_low else { return };
        if row.state.low_notified || row.state.balance >= threshold {
            return;
        }
        row.state.low_notified = true;
        let balance = row.state.balance;
        self.emit(workspace, EventType::BalanceLow, &EventData::Balance { balance, threshold });
    }

    pub(in crate::writer) fn reset_low_balance_notice(&mut self, workspace: WorkspaceId) {
        if let Some(row) = self.tables.workspaces.get_mut(&workspace)
            && is_above_threshold(row)
        {
            row.state.low_notified = false;
        }
    }
}

fn is_above_threshold(row: &WorkspaceRow) -> bool {
    row.config.settings.balance_low.is_none_or(|threshold| row.state.balance >= threshold)
}
