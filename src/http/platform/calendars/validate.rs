//! What a query of bookings asks for, field by field.

use super::wire::BookingsQuery;
use crate::domain::calendar::{BookingState, DayOrTime};
use crate::domain::error::Error;
use crate::http::platform::validate::invalid;
use crate::service::calendars::BookingQuery;

/// Which bookings, but for the page.
pub(super) fn bookings(query: &BookingsQuery) -> Result<BookingQuery, Error> {
    let state = query.state.as_deref().map(|word| {
        word.parse::<BookingState>().map_err(|_| invalid("state", "must be one of: booked, cancelled."))
    });
    Ok(BookingQuery {
        from: bound("from", query.from.as_deref())?,
        to: bound("to", query.to.as_deref())?,
        state: state.transpose()?,
        conversation: query.conversation_id.clone(),
        after: None,
    })
}

fn bound(field: &'static str, text: Option<&str>) -> Result<Option<DayOrTime>, Error> {
    let message = "must be a date such as 2026-03-15, or a time such as 2026-03-15T14:00:00Z.";
    text.map(|text| DayOrTime::parse(text).ok_or_else(|| invalid(field, message))).transpose()
}
