//! Calendars on the platform API: created, changed and archived, their bookings, and the files that calendar programs read.

mod book;
mod bookings;
mod configure;

pub use book::{BookAppointment, book, list_free_slots};
pub use bookings::{BookingPosition, BookingQuery, cancel_booking, find_booking, list_bookings};
pub use configure::{CreateCalendar, UpdateCalendar, archive, check_caldav_address, create, update};

use serde_json::json;

use super::audit_log;
use super::write_error::write_error;
use super::{Services, resources};
use crate::domain::account::Account;
use crate::domain::audit::{AuditAction, AuditEntry, AuditObject, ObjectKind};
use crate::domain::calendar::Calendar;
use crate::domain::error::Error;
use crate::domain::ids::{CalendarId, CalendarToken};
use crate::formats::icalendar::{PAST_DAYS, to_ics};
use crate::store::bookings::Filter;
use crate::store::{Conn, Tenant, calendars};

/// Maximum number of bookings in a file.
const MAX_ICS_BOOKINGS: i64 = 10_000;

/// A calendar in the audit log.
fn audit_object(id: CalendarId, slug: &str) -> AuditObject {
    AuditObject::new(ObjectKind::Calendar, id, Some(slug))
}

/// Gives a calendar a new address for calendar programs. The previous address stops working.
pub async fn renew_link(
    services: &Services,
    account: &Account,
    name: &str,
) -> Result<(Calendar, CalendarToken), Error> {
    let token = CalendarToken(services.ids.uuid_v4());
    Ok((set_link(services, account, name, Some(token)).await?, token))
}

/// Removes the address of a calendar.
pub async fn remove_link(services: &Services, account: &Account, name: &str) -> Result<Calendar, Error> {
    set_link(services, account, name, None).await
}

async fn set_link(
    services: &Services,
    account: &Account,
    name: &str,
    link: Option<CalendarToken>,
) -> Result<Calendar, Error> {
    let calendar = resources::find::<Calendar>(services, account, name).await?;
    let now = services.clock.now();
    let set = async |mut conn: Conn<'_>| {
        let had_link =
            calendars::set_link(conn.reborrow(), calendar.workspace, calendar.id, link, now).await?;
        if !had_link && link.is_none() {
            return Ok(());
        }
        let action = if link.is_some() { AuditAction::Rotated } else { AuditAction::Revoked };
        let object = audit_object(calendar.id, &calendar.slug);
        let entry = AuditEntry::new(calendar.workspace, &account.actor, action, object);
        let is_linked = |is_linked: bool| json!({ "ics_linked": is_linked });
        audit_log::record(
            conn,
            services.clock.as_ref(),
            &services.ids,
            &entry.with_changes(is_linked(had_link), is_linked(link.is_some())),
        )
        .await
    };
    services.db.write(calendar.workspace, set).await.map_err(write_error)?;
    Ok(Calendar { link, ..calendar })
}

/// The file at an address, with the bookings of the last [`PAST_DAYS`] days and all later ones. If there are too many, the
/// oldest are left out. `None` if no calendar has this address.
pub async fn read_ics(services: &Services, token: CalendarToken) -> Result<Option<String>, Error> {
    let from = services.clock.now().minus(std::time::Duration::from_hours(u64::from(PAST_DAYS) * 24));
    let filter = Filter { from: Some(from), last: true, ..Filter::default() };
    let read = async |mut conn: Conn<'_>| {
        let found = calendars::find_by_link(conn.reborrow(), token).await?;
        let Some(calendar) = found else { return Ok(None) };
        let (workspace, id) = (calendar.workspace, calendar.id);
        let bookings = crate::store::bookings::list(conn, workspace, id, &filter, MAX_ICS_BOOKINGS).await?;
        Ok(Some((calendar, bookings)))
    };
    let found = services.db.read(Tenant::Unknown, read).await?;
    Ok(found.map(|(calendar, bookings)| to_ics(&calendar, &bookings)))
}
