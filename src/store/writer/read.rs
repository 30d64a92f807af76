//! Locks, in the one order that every writing transaction keeps to (workspace
//! states, conversations, calendars, turns), and reads what a batch decides on.
//! What is not locked itself is read after the locks that guard it.

use std::collections::{BTreeMap, BTreeSet};

use super::needs::Needs;
use crate::domain::batch::{Tables, WorkspaceRow};
use crate::domain::idempotency::IdempotencyKey;
use crate::domain::turn::Turn;
use crate::store::{
    Conn, StoreError, assistants, calendars, conversations, idempotency, ledger, messages, turns,
    webhook_endpoints, workspaces,
};

/// Locks and reads.
pub(super) async fn read(mut conn: Conn<'_>, mut needs: Needs) -> Result<Tables, StoreError> {
    let mut tables = Tables::default();
    let states = workspaces::lock(conn.reborrow(), &needs.workspaces).await?;
    for conversation in conversations::lock(conn.reborrow(), &needs.conversations).await? {
        needs.assistants.insert((conversation.workspace, conversation.assistant));
        tables.conversations.insert(conversation.id, conversation);
    }
    let wanted = needs.bookings.iter().map(|wanted| (wanted.workspace, wanted.calendar)).collect();
    calendars::lock(conn.reborrow(), &wanted).await?;
    lock_turns(conn.reborrow(), &mut needs, &mut tables).await?;

    let mut settings = workspaces::settings(conn.reborrow(), &needs.workspaces).await?;
    let subscribers = webhook_endpoints::subscribers(conn.reborrow(), &needs.workspaces).await?;
    for (id, state) in states {
        let Some(index) = settings.iter().position(|settings| settings.id == id) else { continue };
        let settings = settings.swap_remove(index);
        let of_workspace = subscribers.iter().filter(|(workspace, _)| *workspace == id);
        let subscribers = of_workspace.map(|(_, subscriber)| subscriber.clone()).collect();
        tables.workspaces.insert(id, WorkspaceRow { settings, state, subscribers });
    }
    read_the_rest(conn, needs, &mut tables).await?;
    Ok(tables)
}

async fn lock_turns(mut conn: Conn<'_>, needs: &mut Needs, tables: &mut Tables) -> Result<(), StoreError> {
    enter_turns(turns::lock(conn.reborrow(), &needs.turns).await?, needs, tables);
    // Where a turn may end, all open ones of its conversation are needed: those not named are still to be
    // read. Their conversation is locked, so no other batch can wait for them the other way round.
    let open_of = |id| tables.conversations.get(id).map_or(0, |conversation| conversation.open_turns);
    let read_of = |id| tables.open.get(id).map_or(0, BTreeMap::len);
    let incomplete: BTreeSet<_> = needs
        .ending
        .iter()
        .filter(|(_, id)| usize::try_from(open_of(id)).is_ok_and(|open| open > read_of(id)))
        .copied()
        .collect();
    let others = turns::open_of(conn.reborrow(), &incomplete).await?.into_iter().collect();
    enter_turns(turns::lock(conn, &others).await?, needs, tables);
    Ok(())
}

fn enter_turns(turns: Vec<Turn>, needs: &mut Needs, tables: &mut Tables) {
    for turn in turns {
        needs.idempotency.extend(turn.idempotency.clone().map(|(scope, key)| IdempotencyKey {
            workspace: turn.workspace,
            scope,
            key,
        }));
        tables.put_turn(turn);
    }
}

async fn read_the_rest(mut conn: Conn<'_>, needs: Needs, tables: &mut Tables) -> Result<(), StoreError> {
    tables.assistants.extend(assistants::heads(conn.reborrow(), &needs.assistants).await?);
    tables.messages.extend(messages::places(conn.reborrow(), &needs.messages).await?);
    for kept in idempotency::read(conn.reborrow(), &needs.idempotency).await? {
        tables.idempotency.insert(kept.key.clone(), kept);
    }
    for wanted in &needs.bookings {
        let found = calendars::bookings(conn.reborrow(), wanted).await?;
        let known = tables.bookings.entry(wanted.calendar).or_default();
        for booking in found {
            if !known.iter().any(|other| other.id == booking.id) {
                known.push(booking);
            }
        }
    }
    for (workspace, reference, number) in ledger::references(conn.reborrow(), &needs.references).await? {
        tables.references.insert((workspace, reference), number);
    }
    let endpoints = webhook_endpoints::of_workspaces(conn, &needs.endpoints_of).await?;
    tables.endpoints.extend(endpoints.into_iter().map(|endpoint| (endpoint.id, endpoint)));
    Ok(())
}
