//! Removes a booking from its server, for the tool and for the API.

use super::client::CaldavClient;
use super::error::CaldavError;
use super::readers::Caller;
use crate::domain::calendar::{Booking, Caldav, Refusal};
use crate::outbound::AllowHosts;
use crate::tools::Adapters;

/// Why an appointment is still on its server.
#[derive(Debug, thiserror::Error)]
pub enum RemoveError {
    /// The calendar had another address when the appointment was booked.
    #[error("{}", Refusal::calendar_mismatch())]
    OtherCalendar,
    /// The cause is for the log.
    #[error("the calendar cannot be written at the moment")]
    Caldav(#[source] Box<dyn std::error::Error + Send + Sync>),
}

impl From<CaldavError> for RemoveError {
    fn from(error: CaldavError) -> Self {
        Self::Caldav(Box::new(error))
    }
}

/// Removes a booking's event from the current server of its calendar, even if a person has moved it in time. An event
/// that no longer exists counts as removed. Does nothing for a booking that is cancelled or on no server.
pub async fn remove_event(
    config: Option<&Caldav>,
    booking: &Booking,
    adapters: &Adapters,
    allow_hosts: &AllowHosts,
) -> Result<(), RemoveError> {
    match config {
        Some(config) => {
            let caller = Caller { workspace: booking.workspace, allow_hosts };
            remove(&CaldavClient::new(booking.calendar, config, adapters), booking, caller).await
        }
        None if booking.resource.is_some() && booking.cancelled_at.is_none() => {
            Err(RemoveError::OtherCalendar)
        }
        None => Ok(()),
    }
}

pub(super) async fn remove(
    client: &CaldavClient,
    booking: &Booking,
    caller: Caller<'_>,
) -> Result<(), RemoveError> {
    let Some(resource) = booking.resource.as_ref().filter(|_| booking.cancelled_at.is_none()) else {
        return Ok(());
    };
    if *resource != client.event_url(&booking.call) {
        return Err(RemoveError::OtherCalendar);
    }
    Ok(client.remove(resource, &booking.call, caller).await?)
}
