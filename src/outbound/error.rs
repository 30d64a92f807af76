//! What can go wrong on the way out, in words that a tenant may read: no
//! address, no body, nothing of the network inside.

use std::error::Error;

/// Why a URL is not called.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum UrlError {
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
    Refused(#[from] UrlError),
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
        if let Some(url_error) = url_error(&error) {
            Self::Refused(url_error)
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
fn url_error(error: &reqwest::Error) -> Option<UrlError> {
    let mut source = error.source();
    while let Some(current) = source {
        if let Some(url_error) = current.downcast_ref::<UrlError>() {
            return Some(*url_error);
        }
        source = current.source();
    }
    None
}
