//! Writes the changes of a batch, with about one statement for each table.

use super::batch::{ChangeSet, Tables};
use crate::domain::clock::Micros;
use crate::store::turns::{cancellations, journal};
use crate::store::{
    Conn, StoreError, bookings, conversations, deliveries, events, idempotency, ledger, messages, turns,
    webhook_endpoints, workspaces,
};

/// Writes all changes; `now` is the database time.
pub(super) async fn write(
    mut conn: Conn<'_>,
    tables: &Tables,
    changes: &ChangeSet,
    now: Micros,
) -> Result<(), StoreError> {
    let states: Vec<_> = changes
        .workspaces
        .iter()
        .filter_map(|id| tables.workspaces.get(id).map(|row| (*id, row.state)))
        .collect();
    workspaces::update_states(conn.reborrow(), &states).await?;

    let rows = |ids: &mut dyn Iterator<Item = &_>| -> Vec<_> {
        ids.filter_map(|id| tables.conversations.get(id)).collect()
    };
    conversations::insert(conn.reborrow(), &rows(&mut changes.new_conversations.iter())).await?;
    conversations::update(conn.reborrow(), &rows(&mut changes.conversations.iter())).await?;
    conversations::update_metadata(conn.reborrow(), &rows(&mut changes.metadata.iter())).await?;
    conversations::put_links(conn.reborrow(), &changes.links, now).await?;
    messages::insert(conn.reborrow(), &changes.messages).await?;

    let rows =
        |ids: &mut dyn Iterator<Item = &_>| -> Vec<_> { ids.filter_map(|id| tables.turns.get(id)).collect() };
    turns::insert(conn.reborrow(), &rows(&mut changes.new_turns.iter())).await?;
    turns::update(conn.reborrow(), &rows(&mut changes.turns.iter())).await?;
    journal::insert(conn.reborrow(), &changes.journal).await?;
    journal::finish(conn.reborrow(), &changes.results).await?;
    // Cancellations first: the same batch may book the time again.
    bookings::mark_cancelled(conn.reborrow(), &changes.cancelled_bookings).await?;
    bookings::mark_confirmed(conn.reborrow(), &changes.confirmed_bookings).await?;
    bookings::insert(conn.reborrow(), &changes.bookings).await?;

    // Before the deliveries, which refer to their endpoints.
    let rows = |ids: &mut dyn Iterator<Item = &_>| -> Vec<_> {
        ids.filter_map(|id| tables.endpoints.get(id)).collect()
    };
    webhook_endpoints::insert(conn.reborrow(), &rows(&mut changes.new_endpoints.iter())).await?;
    webhook_endpoints::update(conn.reborrow(), &rows(&mut changes.endpoints.iter())).await?;

    ledger::insert(conn.reborrow(), &changes.ledger).await?;
    events::insert(conn.reborrow(), &changes.events).await?;
    deliveries::insert(conn.reborrow(), &changes.deliveries).await?;
    let records: Vec<_> = changes.idempotency.iter().filter_map(|key| tables.idempotency.get(key)).collect();
    idempotency::put(conn.reborrow(), &records).await?;
    cancellations::insert(conn, &changes.cancellations).await
}
