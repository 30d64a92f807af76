//! A conversation changes: a person takes over, hands it back, describes it, or ends it.

use super::Services;
use super::send_message::open;
use crate::domain::account::Account;
use crate::domain::batch::{Change, Changing};
use crate::domain::conversation::Conversation;
use crate::domain::error::{Error, Thing};
use crate::domain::ids::WidgetUuid;

/// Changes the conversation of the account's workspace that has this id, as it was sent.
/// Switching the AI off, and ending, discard the replies in the making.
pub async fn change(
    services: &Services,
    account: &Account,
    name: &str,
    change: Change,
) -> Result<Conversation, Error> {
    let id = name.parse().map_err(|_| Error::not_found(Thing::Conversation, name))?;
    services.writer.change(Changing { workspace: account.workspace, conversation: id, change }).await
}

/// [`change`], by the conversation's widget UUID.
pub async fn change_by_link(
    services: &Services,
    account: &Account,
    link: WidgetUuid,
    change: Change,
) -> Result<Conversation, Error> {
    let conversation = open(services, link, Some(account)).await?;
    let changing = Changing { workspace: account.workspace, conversation: conversation.id, change };
    services.writer.change(changing).await
}
