//! A visitor rates a message of an assistant or an agent.

use super::Services;
use super::send_message::{check_origin, find_by_link};
use crate::domain::account::Account;
use crate::domain::error::Error;
use crate::domain::ids::{MessageId, ResourceId as _, WidgetUuid};
use crate::domain::message::Feedback;
use crate::writer::RateMessage;

/// A request of the widget API.
#[derive(Clone, Debug)]
pub struct RatingRequest {
    pub link: WidgetUuid,
    /// The account of the API key, if one was sent. It has the scope `messages:write`.
    pub account: Option<Account>,
    pub origin: Option<String>,
    /// The id of the message, as it was sent.
    pub message: String,
    /// `None` withdraws the rating.
    pub feedback: Option<Feedback>,
}

/// Rates a message. The same rating again changes nothing.
///
/// # Errors
/// [`Error::NotFound`] unless the message is one of an assistant or an agent in this conversation.
pub async fn rate(services: &Services, request: RatingRequest) -> Result<(), Error> {
    let linked = find_by_link(services, request.link, request.account.as_ref()).await?;
    check_origin(services, &linked, request.origin.as_deref()).await?;
    let message = MessageId::parse(&request.message)?;
    let (workspace, conversation) = (linked.conversation.workspace, linked.conversation.id);
    let command = RateMessage { workspace, conversation, message, feedback: request.feedback };
    services.writer.execute(command).await
}
