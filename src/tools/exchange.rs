//! The HTTP exchange of a webhook tool, for the administrator who configures it. Secrets are masked.

/// Request and response; both may be missing.
#[derive(Clone, Debug, Default)]
pub struct Exchange {
    /// `None` if nothing was sent.
    pub request: Option<SentRequest>,
    /// `None` if no response arrived.
    pub response: Option<ReceivedResponse>,
}

/// A request as it was sent.
#[derive(Clone, Debug)]
pub struct SentRequest {
    pub method: String,
    pub url: String,
    /// Names and values, unordered.
    pub headers: Vec<(String, String)>,
    /// The beginning of the body as text.
    pub body: Option<String>,
}

/// A response with any status.
#[derive(Clone, Debug)]
pub struct ReceivedResponse {
    pub status: u16,
    pub content_type: Option<String>,
    /// The beginning of the body as text; `None` if the body was too large.
    pub body: Option<String>,
}
