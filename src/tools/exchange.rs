//! A webhook tool's call as it went over the wire, for whoever sets the tool up. Every
//! secret in it is masked already.

/// What was sent, and what came back; both may be missing.
#[derive(Clone, Debug, Default)]
pub struct Exchange {
    /// None where nothing could be sent.
    pub request: Option<SentRequest>,
    /// None where no answer came.
    pub response: Option<ReceivedResponse>,
}

/// A request as it left.
#[derive(Clone, Debug)]
pub struct SentRequest {
    pub method: String,
    pub url: String,
    /// Names and values, in no order.
    pub headers: Vec<(String, String)>,
    /// Its beginning, as text.
    pub body: Option<String>,
}

/// An answer, whatever its status.
#[derive(Clone, Debug)]
pub struct ReceivedResponse {
    pub status: u16,
    pub content_type: Option<String>,
    /// How its body begins, as text; none where it was too large to be read.
    pub body: Option<String>,
}
