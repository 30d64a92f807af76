//! Locks and reads the rows of a batch. Locks are taken in the order that every writing transaction follows: workspace states,
//! conversations, calendars, turns. Rows that are not locked themselves are read after the locks that guard them.

use std::collections::{BTreeMap, BTreeSet};

use super::batch::{LoadPlan, Tables, WorkspaceRow};
use crate::domain::idempotency::IdempotencyKey;
use crate::domain::turn::Turn;
use crate::store::{
    Conn, StoreError, assistants, bookings, calendars, conversations, idempotency, ledger, messages, turns,
    webhook_endpoints, workspaces,
};

/// Locks and reads the rows of a plan, and those that follow from them.
pub(super) async fn read(mut conn: Conn<'_>, mut plan: LoadPlan) -> Result<Tables, StoreError> {
    let mut tables = Tables::default();
    let states = workspaces::lock(conn.reborrow(), &plan.workspaces).await?;
    for conversation in conversations::lock(conn.reborrow(), &plan.conversations).await? {
        plan.assistants.insert((conversation.workspace, conversation.assistant));
        tables.conversations.insert(conversation.id, conversation);
    }
    let calendar_keys = plan.bookings.iter().map(|lookup| (lookup.workspace, lookup.calendar)).collect();
    calendars::lock(conn.reborrow(), &calendar_keys).await?;
    lock_turns(conn.reborrow(), &mut plan, &mut tables).await?;

    let mut settings = workspaces::settings(conn.reborrow(), &plan.workspaces).await?;
    let subscribers = webhook_endpoints::subscribers(conn.reborrow(), &plan.workspaces).await?;
    for (id, state) in states {
        let Some(index) = settings.iter().position(|settings| settings.id == id) else { continue };
        let settings = settings.swap_remove(index);
        let of_workspace = subscribers.iter().filter(|(workspace, _)| *workspace == id);
        let subscribers = of_workspace.map(|(_, subscriber)| subscriber.clone()).collect();
        tables.workspaces.insert(id, WorkspaceRow { settings, state, subscribers });
    }
    read_unlocked(conn, plan, &mut tables).await?;
    Ok(tables)
}

async fn lock_turns(mut conn: Conn<'_>, plan: &mut LoadPlan, tables: &mut Tables) -> Result<(), StoreError> {
    add_turns(turns::lock(conn.reborrow(), &plan.turns).await?, plan, tables);
    // If a turn may end, all open turns of its conversation are needed. Locking those that no command names cannot
    // deadlock, because their conversation is locked already.
    let open_of = |id| tables.conversations.get(id).map_or(0, |conversation| conversation.open_turns);
    let read_of = |id| tables.open.get(id).map_or(0, BTreeMap::len);
    let incomplete: BTreeSet<_> = plan
        .ending
        .iter()
        .filter(|(_, id)| usize::try_from(open_of(id)).is_ok_and(|open| open > read_of(id)))
        .copied()
        .collect();
    let others = turns::list_open(conn.reborrow(), &incomplete).await?.into_iter().collect();
    add_turns(turns::lock(conn, &others).await?, plan, tables);
    Ok(())
}

fn add_turns(turns: Vec<Turn>, plan: &mut LoadPlan, tables: &mut Tables) {
    for turn in turns {
        plan.idempotency.extend(turn.idempotency.clone().map(|(scope, key)| IdempotencyKey {
            workspace: turn.workspace,
            scope,
            key,
        }));
        tables.put_turn(turn);
    }
}

async fn read_unlocked(mut conn: Conn<'_>, plan: LoadPlan, tables: &mut Tables) -> Result<(), StoreError> {
    tables.assistants.extend(assistants::summaries(conn.reborrow(), &plan.assistants).await?);
    tables.messages.extend(messages::find_refs(conn.reborrow(), &plan.messages).await?);
    for record in idempotency::find_many(conn.reborrow(), &plan.idempotency).await? {
        tables.idempotency.insert(record.key.clone(), record);
    }
    for lookup in &plan.bookings {
        let found = bookings::list_matching(conn.reborrow(), lookup).await?;
        let bookings = tables.bookings.entry(lookup.calendar).or_default();
        for booking in found {
            if !bookings.iter().any(|other| other.id == booking.id) {
                bookings.push(booking);
            }
        }
    }
    for (workspace, reference, number) in ledger::references(conn.reborrow(), &plan.references).await? {
        tables.references.insert((workspace, reference), number);
    }
    let endpoints = webhook_endpoints::list_by_workspaces(conn, &plan.endpoints_of).await?;
    tables.endpoints.extend(endpoints.into_iter().map(|endpoint| (endpoint.id, endpoint)));
    Ok(())
}
