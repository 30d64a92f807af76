//! Errors of requests to a CalDAV server.

use crate::domain::seal::SealError;
use crate::outbound::OutboundError;

/// For the log and for test calls of a tool, never for a model. Contains no secret, and nothing of the server's response except the name of an event.
#[derive(Debug, thiserror::Error)]
pub enum CaldavError {
    #[error("the calendar has a password, and REJOINDER_SECRET_KEY is not set")]
    NoSecretKey,
    #[error("the calendar's password cannot be used")]
    Secret(#[from] SealError),
    #[error("the calendar's user name and password do not fit into a header")]
    InvalidCredentials,
    #[error("no answer: {0}")]
    NoAnswer(#[from] OutboundError),
    #[error(
        "{method} was answered with a redirect, which is not followed: configure the calendar's own address"
    )]
    Redirect { method: &'static str },
    #[error("{method} was answered with status {status}")]
    Status { method: &'static str, status: u16 },
    #[error("the address is not that of a calendar: configure the calendar's own address")]
    NotACalendar,
    #[error("the answer cannot be read: {0}")]
    Unreadable(&'static str),
    /// Nothing is known to be free then.
    #[error("the event {name:?} cannot be read: {error}")]
    Event { name: String, error: &'static str },
    #[error("the event is changed there again and again")]
    Contended,
}
