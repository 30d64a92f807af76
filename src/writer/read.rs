//! Locks and reads the rows of a batch. Locks are taken in the order that every writing transaction follows: workspace states,
//! conversations, calendars, turns. Rows that are not locked themselves are read after the locks that guard them.

use std::collections::{BTreeMap, BTreeSet};

use super::batch::{LoadPlan, Tables};
use super::config_cache::ConfigCache;
use crate::domain::clock::{Clock, Micros};
use crate::domain::idempotency::IdempotencyKey;
use crate::domain::turn::Turn;
use crate::store::{
    Conn, StoreError, bookings, calendars, conversations, idempotency, ledger, messages, turns,
    webhook_endpoints, workspaces,
};

/// Locks and reads the rows of a plan, and those that follow from them. Returns them with the database's time.
pub(super) async fn read(
    mut conn: Conn<'_>,
    mut plan: LoadPlan,
    cache: &ConfigCache,
    clock: &dyn Clock,
) -> Result<(Tables, Micros), StoreError> {
    let mut tables = Tables::default();
    let (states, now) = workspaces::lock_with_time(conn.reborrow(), &plan.workspaces, clock).await?;
    for conversation in conversations::lock(conn.reborrow(), &plan.conversations).await? {
        plan.assistants.insert((conversation.workspace, conversation.assistant));
        tables.conversations.insert(conversation.id, conversation);
    }
    let calendar_keys = plan.bookings.iter().map(|lookup| (lookup.workspace, lookup.calendar)).collect();
    calendars::lock(conn.reborrow(), &calendar_keys).await?;
    lock_turns(conn.reborrow(), &mut plan, &mut tables).await?;

    tables.workspaces = cache.workspaces(conn.reborrow(), states).await?;
    tables.assistants = cache.assistants(conn.reborrow(), &plan.assistants, &tables.workspaces).await?;
    read_unlocked(conn, plan, &mut tables).await?;
    Ok((tables, now))
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
    tables.messages.extend(messages::find_refs(conn.reborrow(), &plan.messages).await?);
    tables.rated.extend(messages::find_rated(conn.reborrow(), &plan.rated).await?);
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
        if let Some((conversation, since)) = lookup.counted {
            let (workspace, calendar) = (lookup.workspace, lookup.calendar);
            let counts =
                bookings::count_made(conn.reborrow(), workspace, calendar, conversation, since).await?;
            if let Some(conversation) = conversation {
                tables.conversation_bookings.insert((calendar, conversation), counts.conversation);
            }
            tables.daily_bookings.insert(calendar, counts.day);
        }
    }
    for (workspace, reference, number) in ledger::references(conn.reborrow(), &plan.references).await? {
        tables.references.insert((workspace, reference), number);
    }
    let endpoints = webhook_endpoints::list_by_workspaces(conn, &plan.endpoints_of).await?;
    tables.endpoints.extend(endpoints.into_iter().map(|endpoint| (endpoint.id, endpoint)));
    Ok(())
}
