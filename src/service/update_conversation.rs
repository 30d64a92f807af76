//! Updates a conversation: a person takes over, hands it back, describes it, or ends it.

use super::Services;
use super::visitors::find_by_link;
use crate::domain::account::Account;
use crate::domain::conversation::{Conversation, ConversationPatch};
use crate::domain::error::Error;
use crate::domain::ids::{ConversationId, ResourceId as _, WidgetUuid};
use crate::writer::UpdateConversation;

/// Updates the conversation of the account's workspace with this id, as it was sent. Switching the AI off, or ending the
/// conversation, discards the replies in progress.
pub async fn update(
    services: &Services,
    account: &Account,
    name: &str,
    change: ConversationPatch,
) -> Result<Conversation, Error> {
    write(services, account, ConversationId::parse(name)?, change).await
}

/// [`update`], by the conversation's widget UUID.
pub async fn update_by_link(
    services: &Services,
    account: &Account,
    link: WidgetUuid,
    change: ConversationPatch,
) -> Result<Conversation, Error> {
    let linked = find_by_link(services, link, Some(account)).await?;
    write(services, account, linked.conversation.id, change).await
}

async fn write(
    services: &Services,
    account: &Account,
    conversation: ConversationId,
    patch: ConversationPatch,
) -> Result<Conversation, Error> {
    let command = UpdateConversation { workspace: account.workspace, conversation, patch };
    services.writer.execute(command).await
}
