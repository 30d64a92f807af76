//! Errors of calls to MCP servers, extracted from the error layers of the SDK.

use std::error::Error;
use std::time::Duration;

use rmcp::ServiceError;
use rmcp::model::ErrorData;
use rmcp::service::ClientInitializeError;
use rmcp::transport::DynamicTransportError;
use rmcp::transport::streamable_http_client::StreamableHttpError;

use super::http_client::McpHttpError;
use crate::domain::foreign_text::ForeignText;
use crate::domain::tool_loop::json_prefix;
use crate::outbound::OutboundError;
use crate::tools::secrets::Secrets;

/// Maximum length of a message that quotes a server, in bytes.
const MAX_TEXT: usize = 1024;

/// Its own text is for the log, [`McpError::administrator_message`] for administrators, [`McpError::model_message`] for the model.
#[derive(Debug, thiserror::Error)]
pub(super) enum McpError {
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
    /// An error of the server.
    #[error("error {code}")]
    ErrorResponse { code: i32, message: ForeignText },
    /// The exchange was not completed, for this reason.
    #[error("{0}")]
    Incomplete(String),
    /// The response exceeds the limit.
    #[error("{0}")]
    TooLarge(String),
    #[error("the answer is not of the protocol")]
    Unreadable,
}

impl McpError {
    /// Whether the server could not be reached, rather than refused.
    pub(super) fn is_unavailable(&self) -> bool {
        match self {
            Self::Timeout(_) | Self::Connect | Self::Incomplete(_) => true,
            Self::Status(status) => matches!(*status, 408 | 429 | 500..),
            Self::Refused(_) | Self::ErrorResponse { .. } | Self::TooLarge(_) | Self::Unreadable => false,
        }
    }

    /// With what the server said; masked and bounded. Not for the log, because a server may quote the arguments of a call.
    pub(super) fn administrator_message(&self, secrets: &Secrets<'_>) -> String {
        let text = match self {
            Self::ErrorResponse { message, .. } => format!("{self}: {}", message.expose()),
            Self::Timeout(_)
            | Self::Refused(_)
            | Self::Connect
            | Self::Status(_)
            | Self::Incomplete(_)
            | Self::TooLarge(_)
            | Self::Unreadable => self.to_string(),
        };
        redact_and_truncate(text, secrets)
    }

    /// A text for the model, without details of the network; masked and bounded.
    pub(super) fn model_message(&self, secrets: &Secrets<'_>) -> String {
        redact_and_truncate(self.describe(), secrets)
    }

    fn describe(&self) -> String {
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
            Self::ErrorResponse { message, .. } => {
                format!("The MCP server answered with an error: {}", message.expose())
            }
            Self::Incomplete(why) | Self::TooLarge(why) => {
                format!("The MCP server gave no result: {why}. {DOUBT}")
            }
            Self::Unreadable => format!("The MCP server's answer could not be read. {DOUBT}"),
        }
    }

    fn error_response(error: &ErrorData) -> Self {
        Self::ErrorResponse { code: error.code.0, message: error.message.to_string().into() }
    }

    fn transport(error: &DynamicTransportError) -> Self {
        let mut source: Option<&(dyn Error + 'static)> = Some(error.error.as_ref());
        while let Some(current) = source {
            if let Some(error) = current.downcast_ref::<StreamableHttpError<McpHttpError>>() {
                return Self::http(error);
            }
            source = current.source();
        }
        Self::Unreadable
    }

    #[expect(clippy::wildcard_enum_match_arm, reason = "the SDK may add kinds; none of them is an answer")]
    fn http(error: &StreamableHttpError<McpHttpError>) -> Self {
        match error {
            StreamableHttpError::Client(McpHttpError::Outbound(error)) => Self::outbound(error),
            StreamableHttpError::Client(McpHttpError::Status(status)) => Self::Status(*status),
            StreamableHttpError::Client(truncated @ McpHttpError::Truncated) => {
                Self::Incomplete(truncated.to_string())
            }
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
            OutboundError::TooLarge { .. } => Self::TooLarge(error.to_string()),
            OutboundError::Setup(_) => Self::Refused("the client could not be set up".to_owned()),
        }
    }
}

/// Masked before it is truncated, because half a secret would not be found.
fn redact_and_truncate(text: String, secrets: &Secrets<'_>) -> String {
    let text = secrets.redact_text(text);
    let prefix = json_prefix(&text, MAX_TEXT);
    if prefix.len() == text.len() { text } else { format!("{prefix}…") }
}

impl From<ServiceError> for McpError {
    #[expect(clippy::wildcard_enum_match_arm, reason = "the SDK may add kinds; none of them is an answer")]
    fn from(error: ServiceError) -> Self {
        match error {
            ServiceError::McpError(error) => Self::error_response(&error),
            ServiceError::TransportSend(error) => Self::transport(&error),
            ServiceError::TransportClosed => Self::Incomplete("the connection was closed".to_owned()),
            ServiceError::Cancelled { .. } => Self::Incomplete("it was cancelled".to_owned()),
            // Tasks and questions to the user are not supported.
            ServiceError::UnexpectedResponse => {
                Self::Incomplete("it requires an unsupported feature".to_owned())
            }
            _ => Self::Unreadable,
        }
    }
}

impl From<ClientInitializeError> for McpError {
    #[expect(clippy::wildcard_enum_match_arm, reason = "the SDK may add kinds; none of them is an answer")]
    fn from(error: ClientInitializeError) -> Self {
        match error {
            ClientInitializeError::TransportError { error, .. } => Self::transport(&error),
            ClientInitializeError::JsonRpcError(error) => Self::error_response(&error),
            _ => Self::Unreadable,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn server_messages_are_masked_before_truncation_and_always_bounded() {
        let mut secrets = Secrets::new(None);
        secrets.hide("canary-t0ken");
        let server_error = |code: i32, message: String| {
            McpError::error_response(&ErrorData::new(rmcp::model::ErrorCode(code), message, None))
        };
        for before in 950..1_050 {
            let error = server_error(-32_000, format!("{}canary-t0ken", "x".repeat(before)));
            for text in [error.model_message(&secrets), error.administrator_message(&secrets)] {
                assert!(!text.contains("can"), "{before}: {text}");
            }
        }
        for code in [-32_098, -32_603] {
            let error = server_error(code, "x".repeat(100_000));
            assert!(error.model_message(&secrets).starts_with("The MCP server answered with an error: xxx"));
            assert!(
                error.model_message(&secrets).len() < 1_100
                    && error.administrator_message(&secrets).len() < 1_100
            );
        }
    }
}
