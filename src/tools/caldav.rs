//! The tools of a calendar on a CalDAV server (RFC 4791). When it is busy is read from there each time that
//! it is asked for; our own rows are the record of what was booked, and hold a time while it is put there.
//! `docs/calendars.md` says what a server must do.

mod availability;
mod booking;
mod cancelling;
mod fault;
mod multistatus;
mod reading;
mod remote;
mod removal;
mod served;

pub(super) use availability::Availability;
pub(super) use booking::Booking;
pub(super) use cancelling::Cancelling;
pub use removal::{NotRemoved, remove_event};

use super::Outcome;
use crate::domain::calendar::Refusal;
use crate::domain::tool_loop::CallResult;

const NOT_READ: &str = "The calendar cannot be read at the moment.";

fn refused(refusal: &Refusal) -> Outcome {
    Outcome::Result(CallResult::new(refusal.to_result()))
}

fn failed(message: &str) -> Outcome {
    Outcome::Result(CallResult::failed(message))
}

/// What a call returns that is another process's by now: nobody reads it.
fn overtaken() -> Outcome {
    failed("The call was taken over.")
}
