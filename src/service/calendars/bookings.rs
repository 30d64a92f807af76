//! The bookings of calendars: listed, read and cancelled.

use serde_json::{Value, json};

use crate::domain::account::Account;
use crate::domain::audit::{AuditAction, AuditEntry, AuditObject, ObjectKind};
use crate::domain::calendar::{Booking, BookingState, Calendar, DayOrTime};
use crate::domain::clock::Micros;
use crate::domain::error::Error;
use crate::domain::ids::{BookingId, ResourceId as _};
use crate::service::audit_log;
use crate::service::page::Page;
use crate::service::write_error::write_error;
use crate::service::{Services, read_conversation, resources, workspace_hosts};
use crate::store::Conn;
use crate::store::bookings::{self, Filter};
use crate::tools::remove_event;

/// A query for the bookings of a calendar.
#[derive(Clone, Debug, Default)]
pub struct BookingQuery {
    /// Only bookings that end after this time, or after the start of this day.
    pub from: Option<DayOrTime>,
    /// Only bookings that start before this time, or before the end of this day.
    pub to: Option<DayOrTime>,
    pub state: Option<BookingState>,
    /// The id of a conversation, as it was sent.
    pub conversation: Option<String>,
    pub after: Option<BookingPosition>,
}

/// The position of a booking in a list: its start and its id.
pub type BookingPosition = (Micros, BookingId);

/// A calendar, and at most `limit` of its bookings in order of their start.
pub async fn list_bookings(
    services: &Services,
    account: &Account,
    name: &str,
    query: BookingQuery,
    limit: usize,
) -> Result<(Calendar, Page<Booking, BookingPosition>), Error> {
    let calendar = resources::find::<Calendar>(services, account, name).await?;
    let conversation = match &query.conversation {
        Some(name) => Some(read_conversation::find(services, account, name).await?.id),
        None => None,
    };
    let filter = Filter {
        from: query.from.map(|from| from.start(&calendar.rules).into()),
        to: query.to.map(|to| to.end(&calendar.rules).into()),
        state: query.state,
        conversation,
        after: query.after,
        last: false,
    };
    let (workspace, id) = (calendar.workspace, calendar.id);
    let read = async |conn: Conn<'_>, rows| bookings::list(conn, workspace, id, &filter, rows).await;
    let position = |booking: &Booking| (booking.time.start.into(), booking.id);
    Ok((calendar, Page::read(&services.db, workspace, limit, read, position).await?))
}

/// A booking and its calendar, by their ids as they were sent.
pub async fn find_booking(
    services: &Services,
    account: &Account,
    calendar: &str,
    name: &str,
) -> Result<(Calendar, Booking), Error> {
    let calendar = resources::find::<Calendar>(services, account, calendar).await?;
    let id = BookingId::parse(name)?;
    let (workspace, calendar_id) = (calendar.workspace, calendar.id);
    let find = async |conn: Conn<'_>| bookings::find_confirmed(conn, workspace, calendar_id, id).await;
    let found = services.db.read(workspace, find).await?;
    Ok((calendar, found.ok_or_else(|| BookingId::not_found(name))?))
}

/// Cancels a booking of any conversation. Cancelling it again changes nothing.
pub async fn cancel_booking(
    services: &Services,
    account: &Account,
    calendar: &str,
    name: &str,
) -> Result<(Calendar, Booking), Error> {
    let (calendar, booking) = find_booking(services, account, calendar, name).await?;
    remove_from_server(services, &calendar, &booking).await?;
    let now = services.clock.now();
    let cancel = async |mut conn: Conn<'_>| {
        let (workspace, id) = (calendar.workspace, calendar.id);
        let cancelled = bookings::cancel(conn.reborrow(), workspace, id, booking.id, now).await?;
        let Some((booking, is_changed)) = cancelled else { return Ok(None) };
        if is_changed {
            let object = AuditObject::new(ObjectKind::Booking, booking.id, None);
            let entry = AuditEntry::new(workspace, &account.actor, AuditAction::Updated, object);
            let fields = json!({ "calendar_id": id, "fields": ["cancelled_at"] });
            audit_log::record(
                conn,
                services.clock.as_ref(),
                &services.ids,
                &entry.with_changes(Value::Null, fields),
            )
            .await?;
        }
        Ok(Some(booking))
    };
    let cancelled = services.db.write(calendar.workspace, cancel).await.map_err(write_error)?;
    Ok((calendar, cancelled.ok_or_else(|| BookingId::not_found(name))?))
}

/// Removes a booking's event from its CalDAV server, if it has one and is not cancelled.
async fn remove_from_server(
    services: &Services,
    calendar: &Calendar,
    booking: &Booking,
) -> Result<(), Error> {
    if booking.resource.is_none() || booking.cancelled_at.is_some() {
        return Ok(());
    }
    let (workspace, adapters) = (calendar.workspace, &services.tools);
    let allow =
        services.db.read(workspace, async |conn| workspace_hosts::load(conn, workspace).await).await?;
    remove_event(calendar.caldav.as_deref(), booking, adapters, &allow).await.map_err(|failure| {
        let error = &failure as &dyn std::error::Error;
        tracing::warn!(calendar.id = %calendar.id, booking.id = %booking.id, error, "a booking could not be removed");
        Error::Conflict(format!("Nothing was cancelled: {failure}."))
    })
}
