//! Why a turn has no reply: the code that is stored and sent in `Rejoinder-Error`, and the text after `Failed to
//! process message: ` of the widget contract.

use super::string_enum::string_enum;

string_enum! {
    /// Why a turn failed.
    Failure {
        /// The model, or the turn as a whole, took too long.
        Timeout = "model_timeout",
        /// No connection to the model, or a 5xx of it.
        ModelUnavailable = "model_unavailable",
        /// A 429 of the model.
        ModelRateLimited = "model_rate_limited",
        /// Another 4xx of the model.
        ModelRefused = "model_refused",
        /// The response of the model is invalid, empty or truncated.
        ModelUnreadable = "model_unreadable",
        /// The turn exceeded its limits of rounds or calls.
        TooManyToolCalls = "too_many_tool_calls",
        /// The conversation or its workspace has used up its token budget.
        TokenBudgetExhausted = "token_budget_exhausted",
        /// The conversation has ended.
        ConversationEnded = "conversation_ended",
        /// The conversation has the maximum of open turns.
        ConversationBusy = "conversation_busy",
        /// The database was unavailable, or this process stopped.
        ServiceUnavailable = "service_unavailable",
        /// A fault of this server, such as stored data that it cannot read.
        InternalError = "internal_error",
        /// The turn was open for too long.
        TooOld = "too_old",
        /// The turn was taken over too often.
        TooManyTakeovers = "too_many_takeovers",
        /// The turn was open when the backup was made that was restored; it may have been answered since.
        DatabaseRestored = "database_restored",
        /// The operator has suspended the workspace.
        WorkspaceSuspended = "workspace_suspended",
    }
}

impl Failure {
    /// The text after `Failed to process message: `. Never internals.
    #[must_use]
    pub fn detail(self) -> &'static str {
        match self {
            Self::Timeout | Self::TooOld => "Connection timeout",
            Self::ModelUnavailable => "The model is unavailable",
            Self::ModelRateLimited => "The model is rate limited",
            Self::ModelRefused => "The model refused the request",
            Self::ModelUnreadable => "The model's answer could not be read",
            Self::TooManyToolCalls => "Too many tool calls",
            Self::TokenBudgetExhausted => "The token budget is used up",
            Self::ConversationEnded => "The conversation has ended",
            Self::ConversationBusy => "The conversation is busy",
            Self::ServiceUnavailable | Self::TooManyTakeovers | Self::DatabaseRestored => {
                "The service is temporarily unavailable"
            }
            Self::WorkspaceSuspended => "The workspace is suspended",
            Self::InternalError => "The server failed to process the request",
        }
    }
}

string_enum! {
    /// Why a reply was discarded.
    Discard {
        /// A human took over.
        AiDisabled = "ai_disabled",
        /// The conversation was ended.
        ConversationEnded = "conversation_ended",
        /// The conversation was deleted.
        ConversationDeleted = "conversation_deleted",
        /// A client cancelled it before text was shown.
        Cancelled = "cancelled",
        /// The operator suspended the workspace.
        WorkspaceSuspended = "workspace_suspended",
    }
}
