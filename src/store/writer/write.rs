//! Writes what a batch decided, in as few statements as there are tables.

use crate::domain::batch::{Tables, Written};
use crate::domain::clock::Micros;
use crate::store::{
    Conn, StoreError, calendars, cancellations, conversations, deliveries, events, idempotency, journal,
    ledger, messages, turns, webhook_endpoints, workspaces,
};

/// Writes all of it; `now` is the store's time.
pub(super) async fn write(
    mut conn: Conn<'_>,
    tables: &Tables,
    written: &Written,
    now: Micros,
) -> Result<(), StoreError> {
    let states: Vec<_> = written
        .workspaces
        .iter()
        .filter_map(|id| tables.workspaces.get(id).map(|row| (*id, row.state)))
        .collect();
    workspaces::update_states(conn.reborrow(), &states).await?;

    let rows = |ids: &mut dyn Iterator<Item = &_>| -> Vec<_> {
        ids.filter_map(|id| tables.conversations.get(id)).collect()
    };
    conversations::insert(conn.reborrow(), &rows(&mut written.new_conversations.iter())).await?;
    conversations::update(conn.reborrow(), &rows(&mut written.conversations.iter())).await?;
    conversations::update_metadata(conn.reborrow(), &rows(&mut written.metadata.iter())).await?;
    conversations::put_links(conn.reborrow(), &written.links, now).await?;
    messages::insert(conn.reborrow(), &written.messages).await?;

    let rows =
        |ids: &mut dyn Iterator<Item = &_>| -> Vec<_> { ids.filter_map(|id| tables.turns.get(id)).collect() };
    turns::insert(conn.reborrow(), &rows(&mut written.new_turns.iter())).await?;
    turns::update(conn.reborrow(), &rows(&mut written.turns.iter())).await?;
    journal::insert(conn.reborrow(), &written.journal).await?;
    journal::finish(conn.reborrow(), &written.results).await?;
    // Cancelled first: what that has freed may be booked again by the same batch.
    calendars::cancel_bookings(conn.reborrow(), &written.cancelled_bookings).await?;
    calendars::confirm_bookings(conn.reborrow(), &written.confirmed_bookings).await?;
    calendars::insert_bookings(conn.reborrow(), &written.bookings).await?;

    // Before the deliveries, which refer to them.
    let rows = |ids: &mut dyn Iterator<Item = &_>| -> Vec<_> {
        ids.filter_map(|id| tables.endpoints.get(id)).collect()
    };
    webhook_endpoints::insert(conn.reborrow(), &rows(&mut written.new_endpoints.iter())).await?;
    webhook_endpoints::update(conn.reborrow(), &rows(&mut written.endpoints.iter())).await?;

    ledger::insert(conn.reborrow(), &written.ledger).await?;
    events::insert(conn.reborrow(), &written.events).await?;
    deliveries::insert(conn.reborrow(), &written.deliveries).await?;
    let kept: Vec<_> = written.idempotency.iter().filter_map(|key| tables.idempotency.get(key)).collect();
    idempotency::put(conn.reborrow(), &kept).await?;
    cancellations::leave(conn, &written.cancellations).await
}
