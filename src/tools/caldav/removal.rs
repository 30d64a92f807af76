//! The removal of a booking from its server, whoever asks for it.

use super::fault::Fault;
use super::remote::Remote;
use crate::domain::batch::Booking;
use crate::domain::calendar::{Caldav, Refusal};
use crate::outbound::AllowHosts;
use crate::tools::Adapters;

/// Why an appointment is still on its server.
#[derive(Debug, thiserror::Error)]
pub enum NotRemoved {
    /// The calendar has had another address when it was booked.
    #[error("{}", Refusal::elsewhere())]
    Elsewhere,
    /// The cause is for the log.
    #[error("the calendar cannot be written at the moment")]
    NotWritten(#[source] Box<dyn std::error::Error + Send + Sync>),
}

impl From<Fault> for NotRemoved {
    fn from(fault: Fault) -> Self {
        Self::NotWritten(Box::new(fault))
    }
}

/// Removes a booking's event from the server that its calendar is now on, as the event now is: wherever a
/// person has moved it in time. One that is gone has been removed. Nothing is done for a booking that was
/// cancelled, or is on no server.
pub async fn remove_event(
    at: Option<&Caldav>,
    booking: &Booking,
    adapters: &Adapters,
    allow: &AllowHosts,
) -> Result<(), NotRemoved> {
    match at {
        Some(at) => remove(&Remote::new(at, adapters), booking, allow).await,
        None if booking.resource.is_some() && booking.cancelled_at.is_none() => Err(NotRemoved::Elsewhere),
        None => Ok(()),
    }
}

pub(super) async fn remove(remote: &Remote, booking: &Booking, allow: &AllowHosts) -> Result<(), NotRemoved> {
    let Some(resource) = booking.resource.as_ref().filter(|_| booking.cancelled_at.is_none()) else {
        return Ok(());
    };
    if *resource != remote.address(&booking.call) {
        return Err(NotRemoved::Elsewhere);
    }
    Ok(remote.remove(resource, &booking.call, allow).await?)
}
