//! The tools of a calendar on a CalDAV server (RFC 4791). Busy times are read from the server at every call; our own
//! rows record the bookings and hold a time while its event is created. `docs/calendars.md` lists the requirements of
//! servers.

mod availability;
mod booking;
mod cancellation;
mod client;
mod error;
mod multistatus;
mod parsing;
mod readers;
mod remote_calendar;
mod removal;

pub(super) use availability::Availability;
pub(super) use booking::Booking;
pub(super) use cancellation::Cancellation;
pub use readers::CalendarReaders;
pub(super) use remote_calendar::{RemoteCalendar, RemoteReadError};
pub use removal::{RemoveError, remove_event};

use super::ToolOutcome;
use super::calendar::refused;
use crate::domain::tool_loop::CallResult;

const READ_FAILED: &str = "The calendar cannot be read at the moment.";

fn failed(message: &str) -> ToolOutcome {
    ToolOutcome::Result(CallResult::failed(message))
}

/// The outcome of a call that another process took over. It is discarded.
fn fenced_off() -> ToolOutcome {
    failed("The call was taken over.")
}
