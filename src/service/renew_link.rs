//! Replaces the widget UUID of a conversation.

use super::{Services, read_conversation};
use crate::domain::account::Account;
use crate::domain::error::Error;
use crate::domain::ids::WidgetUuid;
use crate::writer::RenewWidgetLink;

/// Gives the conversation with this id, as it was sent, a new widget UUID; the old one becomes unknown.
pub async fn renew(services: &Services, account: &Account, name: &str) -> Result<WidgetUuid, Error> {
    let conversation = read_conversation::find(services, account, name).await?;
    let link = WidgetUuid(services.ids.uuid_v4());
    let renewal = RenewWidgetLink { workspace: account.workspace, conversation: conversation.id, link };
    services.writer.execute(renewal).await?;
    Ok(link)
}
