//! Errors of outbound requests. Their texts are shown to tenants: no address, no body, nothing about the internal
//! network.

use std::error::Error;

/// Why a URL is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum UrlError {
    #[error("the URL cannot be read")]
    Malformed,
    #[error("the URL must begin with http:// or https://")]
    Scheme,
    #[error("the URL must not contain a user name or password")]
    UserInfo,
    /// The host is a private literal address, or a name that resolves to one, and is not allowed.
    #[error("the URL's host is not a public address")]
    NotPublic,
}

impl UrlError {
    /// What the owner of the workspace can do, as the end of a sentence; empty if only the URL can be corrected. It is for
    /// those who configure the URL, and not part of the error's text, which models and visitors see.
    #[must_use]
    pub fn remedy(self) -> &'static str {
        match self {
            Self::NotPublic => "; allow it with `allow_hosts` in [workspace], or with outbound.allow_hosts",
            Self::Malformed | Self::Scheme | Self::UserInfo => "",
        }
    }
}

/// Why a request has no response.
#[derive(Debug, thiserror::Error)]
pub enum OutboundError {
    /// Nothing was sent.
    #[error("refused: {0}")]
    Refused(#[from] UrlError),
    #[error("the answer did not come in time")]
    Timeout,
    /// Nothing was sent: the name does not resolve, the connection is refused, or TLS failed.
    #[error("no connection could be made")]
    Connect(#[source] reqwest::Error),
    /// The head arrived; the body exceeds the limit and was dropped.
    #[error("the answer is too large")]
    TooLarge { status: u16 },
    /// The request may have been received.
    #[error("the connection broke before the answer was complete")]
    Broken(#[source] reqwest::Error),
    /// The client could not be built.
    #[error("the outbound client could not be set up")]
    Setup(#[source] reqwest::Error),
}

impl From<reqwest::Error> for OutboundError {
    fn from(error: reqwest::Error) -> Self {
        // The query of the URL may contain a secret; sources are only logged.
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

/// Finds the refusal of the resolver in a chain of sources.
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
