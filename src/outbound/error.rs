//! What can go wrong on the way out, in words that a tenant may read: no
//! address, no body, nothing of the network inside.

use std::error::Error;

/// Why a URL is not called.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum UrlRefused {
    #[error("the URL cannot be read")]
    Malformed,
    #[error("the URL must begin with http:// or https://")]
    Scheme,
    #[error("the URL must not contain a user name or password")]
    UserInfo,
    /// The host is a literal address, or a name with one behind it, that is not
    /// public and that no configuration lets through.
    #[error("the URL's host is not a public address")]
    NotPublic,
}

/// Why a call has no answer.
#[derive(Debug, thiserror::Error)]
pub enum OutboundError {
    /// Nothing was sent.
    #[error("refused: {0}")]
    Refused(#[from] UrlRefused),
    #[error("the answer did not come in time")]
    Timeout,
    /// Nothing was sent: no such name, nobody listens, or TLS failed.
    #[error("no connection could be made")]
    Connect(#[source] reqwest::Error),
    /// The head of the answer came; its body is over the limit and was dropped.
    #[error("the answer is too large")]
    TooLarge { status: u16 },
    /// The request may have been received.
    #[error("the connection broke before the answer was complete")]
    Broken(#[source] reqwest::Error),
    /// The client itself could not be set up.
    #[error("the outbound client could not be set up")]
    Setup(#[source] reqwest::Error),
}

impl From<reqwest::Error> for OutboundError {
    fn from(error: reqwest::Error) -> Self {
        // The URL may hold a secret in its query; a source is for the logs.
        let error = error.without_url();
        if let Some(refused) = refusal(&error) {
            Self::Refused(refused)
        } else if error.is_timeout() {
            Self::Timeout
        } else if error.is_connect() {
            Self::Connect(error)
        } else {
            Self::Broken(error)
        }
    }
}

/// The resolver's refusal, somewhere down the chain of an error's sources.
fn refusal(error: &reqwest::Error) -> Option<UrlRefused> {
    let mut source = error.source();
    while let Some(current) = source {
        if let Some(refused) = current.downcast_ref::<UrlRefused>() {
            return Some(*refused);
        }
        source = current.source();
    }
    None
}
