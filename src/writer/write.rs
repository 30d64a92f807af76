//! Writes the changes of a batch: those that most batches have in one round trip, and each of the others in one of its own.

use std::collections::HashMap;
use std::hash::Hash;

use super::batch::{ChangeSet, Tables};
use crate::domain::clock::{Clock, Micros};
use crate::domain::ids::{AuditId, IdGenerator};
use crate::store::turns::{cancellations, journal};
use crate::store::{
    Conn, Statements, StoreError, audit, bookings, conversations, deliveries, erasures, events, idempotency,
    ledger, messages, turns, webhook_endpoints, workspaces,
};

/// Writes the changes that few batches have, and returns the statements that write the others; `now` is the database time.
pub(super) async fn write_rare(
    mut conn: Conn<'_>,
    tables: &Tables,
    changes: &ChangeSet,
    now: Micros,
    (clock, ids): (&dyn Clock, &IdGenerator),
) -> Result<Statements, StoreError> {
    for (erasure, actor) in &changes.erasures {
        let entry = AuditId(ids.uuid_v7(clock));
        erasures::insert(conn.reborrow(), erasure, actor, entry).await?;
    }
    conversations::mark_deleted(conn.reborrow(), &changes.deletions).await?;
    // Statements of their own: the same conversations may be updated below.
    conversations::update_metadata(conn.reborrow(), &changed(&tables.conversations, &changes.metadata))
        .await?;
    messages::update_ratings(conn.reborrow(), &changed(&tables.rated, &changes.ratings)).await?;
    conversations::update_identities(conn.reborrow(), &changed(&tables.conversations, &changes.identities))
        .await?;
    // Cancellations first: the same batch may book the time again.
    bookings::mark_cancelled(conn.reborrow(), &changes.cancelled_bookings).await?;
    bookings::mark_confirmed(conn.reborrow(), &changes.confirmed_bookings).await?;
    bookings::insert(conn.reborrow(), &changes.bookings).await?;
    webhook_endpoints::insert(conn.reborrow(), &changed(&tables.endpoints, &changes.new_endpoints)).await?;
    webhook_endpoints::update(conn.reborrow(), &changed(&tables.endpoints, &changes.endpoints)).await?;
    for record in &changes.audit {
        audit::insert(conn.reborrow(), record.id, record.at, &record.entry()).await?;
    }

    let mut statements = Statements::new(&conn);
    add_common(&mut statements, tables, changes, now)?;
    Ok(statements)
}

fn add_common(
    statements: &mut Statements,
    tables: &Tables,
    changes: &ChangeSet,
    now: Micros,
) -> Result<(), StoreError> {
    let states: Vec<_> = changes
        .workspaces
        .iter()
        .filter_map(|id| tables.workspaces.get(id).map(|row| (*id, row.state)))
        .collect();
    workspaces::update_states(statements, &states)?;
    conversations::insert(statements, &changed(&tables.conversations, &changes.new_conversations))?;
    conversations::update(statements, &changed(&tables.conversations, &changes.conversations))?;
    conversations::put_links(statements, &changes.links, now)?;
    messages::insert(statements, &changes.messages)?;
    turns::insert(statements, &changed(&tables.turns, &changes.new_turns))?;
    turns::update(statements, &changed(&tables.turns, &changes.turns))?;
    journal::insert(statements, &changes.journal)?;
    journal::finish(statements, &changes.results)?;
    ledger::insert(statements, &changes.ledger)?;
    events::insert(statements, &changes.events)?;
    deliveries::insert(statements, &changes.deliveries)?;
    idempotency::put(statements, &changed(&tables.idempotency, &changes.idempotency))?;
    cancellations::insert(statements, &changes.cancellations)
}

/// The rows that a batch names.
fn changed<'a, K: Eq + Hash + 'a, V>(
    rows: &'a HashMap<K, V>,
    keys: impl IntoIterator<Item = &'a K>,
) -> Vec<&'a V> {
    keys.into_iter().filter_map(|key| rows.get(key)).collect()
}
