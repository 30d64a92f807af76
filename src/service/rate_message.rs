//! A visitor rates a message of an assistant or an agent.

use super::Services;
use super::visitors::{Visitor, find_conversation};
use crate::domain::error::Error;
use crate::domain::ids::{MessageId, ResourceId as _, WidgetUuid};
use crate::domain::message::Feedback;
use crate::writer::RateMessage;

/// A request of the widget API.
#[derive(Clone, Debug)]
pub struct RatingRequest {
    pub link: WidgetUuid,
    pub visitor: Visitor,
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
    let found = find_conversation(services, request.link, &request.visitor).await?;
    let message = MessageId::parse(&request.message)?;
    let (workspace, conversation) = (found.conversation.workspace, found.conversation.id);
    let command = RateMessage { workspace, conversation, message, feedback: request.feedback };
    services.writer.execute(command).await
}
