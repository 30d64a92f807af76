//! Why a server gave no result, out of the SDK's layers of errors.

use std::error::Error;
use std::time::Duration;

use rmcp::ServiceError;
use rmcp::model::ErrorData;
use rmcp::service::ClientInitializeError;
use rmcp::transport::DynamicTransportError;
use rmcp::transport::streamable_http_client::StreamableHttpError;

use super::wire::WireFault;
use crate::outbound::OutboundError;
use crate::tools::secrets::Secrets;
use crate::tools::shown::cut;

/// How long a text may be that repeats a server's own words, in bytes.
const MAX_TEXT: usize = 1024;

/// [`Fault::logged`] is for the logs and for whoever configures the server, [`Fault::told`] for the model.
#[derive(Debug, thiserror::Error)]
pub(super) enum Fault {
    #[error("no answer within {} s", .0.as_secs_f32())]
    Timeout(Duration),
    /// Nothing was sent.
    #[error("refused: {0}")]
    Refused(String),
    /// Nothing was sent.
    #[error("no connection")]
    Connect,
    #[error("status {0}")]
    Status(u16),
    /// The server's own error.
    #[error("error {code}: {words}")]
    Answered { code: i32, words: String },
    /// What was begun was not completed, for this reason.
    #[error("{0}")]
    Incomplete(String),
    /// More than is read.
    #[error("{0}")]
    Excess(String),
    #[error("the answer is not of the protocol")]
    Unreadable,
}

impl Fault {
    /// Whether the server could not be asked, rather than that it said no.
    pub(super) fn is_away(&self) -> bool {
        match self {
            Self::Timeout(_) | Self::Connect | Self::Incomplete(_) => true,
            Self::Status(status) => matches!(*status, 408 | 429 | 500..),
            Self::Refused(_) | Self::Answered { .. } | Self::Excess(_) | Self::Unreadable => false,
        }
    }

    /// Masked, and bounded.
    pub(super) fn logged(&self, secrets: &Secrets<'_>) -> String {
        short(self.to_string(), secrets)
    }

    /// In words for the model, without anything of the network inside; masked, and bounded.
    pub(super) fn told(&self, secrets: &Secrets<'_>) -> String {
        short(self.in_words(), secrets)
    }

    fn in_words(&self) -> String {
        const DOUBT: &str = "The call may or may not have taken effect.";
        match self {
            Self::Timeout(limit) => {
                format!("The MCP server did not answer within {} s. {DOUBT}", limit.as_secs_f32())
            }
            Self::Refused(why) => format!("The call was not sent: {why}."),
            Self::Connect => "No connection to the MCP server could be made.".to_owned(),
            Self::Status(status @ 300..=399) => {
                format!("The MCP server answered with a redirect (status {status}), which is not followed.")
            }
            Self::Status(status @ 400..=499) => {
                format!("The MCP server refused the call with status {status}.")
            }
            Self::Status(status) => format!("The MCP server failed with status {status}. {DOUBT}"),
            Self::Answered { words, .. } => format!("The MCP server answered with an error: {words}"),
            Self::Incomplete(why) | Self::Excess(why) => {
                format!("The MCP server gave no result: {why}. {DOUBT}")
            }
            Self::Unreadable => format!("The MCP server's answer could not be read. {DOUBT}"),
        }
    }

    fn answered(error: &ErrorData) -> Self {
        Self::Answered { code: error.code.0, words: error.message.to_string() }
    }

    fn transport(error: &DynamicTransportError) -> Self {
        let mut source: Option<&(dyn Error + 'static)> = Some(error.error.as_ref());
        while let Some(current) = source {
            if let Some(fault) = current.downcast_ref::<StreamableHttpError<WireFault>>() {
                return Self::http(fault);
            }
            source = current.source();
        }
        Self::Unreadable
    }

    #[expect(clippy::wildcard_enum_match_arm, reason = "the SDK may add kinds; none of them is an answer")]
    fn http(fault: &StreamableHttpError<WireFault>) -> Self {
        match fault {
            StreamableHttpError::Client(WireFault::Outbound(error)) => Self::outbound(error),
            StreamableHttpError::Client(WireFault::Status(status)) => Self::Status(*status),
            StreamableHttpError::Client(ended @ WireFault::Ended) => Self::Incomplete(ended.to_string()),
            StreamableHttpError::SessionExpired
            | StreamableHttpError::SessionRecoveryTimeout
            | StreamableHttpError::ReinitializationFailed(_) => {
                Self::Incomplete("its session ended, and no new one could be opened".to_owned())
            }
            _ => Self::Unreadable,
        }
    }

    fn outbound(error: &OutboundError) -> Self {
        match error {
            OutboundError::Refused(refused) => Self::Refused(refused.to_string()),
            OutboundError::Connect(_) => Self::Connect,
            OutboundError::Timeout | OutboundError::Broken(_) => Self::Incomplete(error.to_string()),
            OutboundError::TooLarge { .. } => Self::Excess(error.to_string()),
            OutboundError::Setup(_) => Self::Refused("the client could not be set up".to_owned()),
        }
    }
}

/// Masked before it is cut: half a secret would not be found.
fn short(text: String, secrets: &Secrets<'_>) -> String {
    let text = secrets.redact_text(text);
    let kept = cut(&text, MAX_TEXT);
    if kept.len() == text.len() { text } else { format!("{kept}…") }
}

impl From<ServiceError> for Fault {
    #[expect(clippy::wildcard_enum_match_arm, reason = "the SDK may add kinds; none of them is an answer")]
    fn from(error: ServiceError) -> Self {
        match error {
            ServiceError::McpError(error) => Self::answered(&error),
            ServiceError::TransportSend(error) => Self::transport(&error),
            ServiceError::TransportClosed => Self::Incomplete("the connection was closed".to_owned()),
            ServiceError::Cancelled { .. } => Self::Incomplete("it was cancelled".to_owned()),
            // A task, or a question to the user: neither is supported.
            ServiceError::UnexpectedResponse => Self::Incomplete("it asks for more than a call".to_owned()),
            _ => Self::Unreadable,
        }
    }
}

impl From<ClientInitializeError> for Fault {
    #[expect(clippy::wildcard_enum_match_arm, reason = "the SDK may add kinds; none of them is an answer")]
    fn from(error: ClientInitializeError) -> Self {
        match error {
            ClientInitializeError::TransportError { error, .. } => Self::transport(&error),
            ClientInitializeError::JsonRpcError(error) => Self::answered(&error),
            _ => Self::Unreadable,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_server_says_is_masked_before_it_is_cut_and_always_bounded() {
        let mut secrets = Secrets::new(None);
        secrets.hide("canary-t0ken");
        let error = |code: i32, words: String| {
            Fault::answered(&ErrorData::new(rmcp::model::ErrorCode(code), words, None))
        };
        for before in 950..1_050 {
            let fault = error(-32_000, format!("{}canary-t0ken", "x".repeat(before)));
            for text in [fault.told(&secrets), fault.logged(&secrets)] {
                assert!(!text.contains("can"), "{before}: {text}");
            }
        }
        for code in [-32_098, -32_603] {
            let fault = error(code, "x".repeat(100_000));
            assert!(fault.told(&secrets).starts_with("The MCP server answered with an error: xxx"));
            assert!(fault.told(&secrets).len() < 1_100 && fault.logged(&secrets).len() < 1_100);
        }
    }
}
