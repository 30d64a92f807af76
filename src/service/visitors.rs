//! Visitors: the senders of requests of the widget API, and the conversations that they may see. Every route that finds a conversation by
//! its widget UUID asks [`find_conversation`].

use std::time::Instant;

use secrecy::{ExposeSecret as _, SecretString};

use super::{Services, widget_assistant};
use crate::domain::account::Account;
use crate::domain::assistant::AssistantVersion;
use crate::domain::conversation::{Conversation, IdentifiedConversation};
use crate::domain::error::Error;
use crate::domain::identity::{self, Identity, IdentitySecret, InvalidIdentity};
use crate::domain::ids::{AssistantId, ConversationId, ResourceId as _, WidgetUuid, WorkspaceId};
use crate::domain::seal::SecretContext;
use crate::store::conversations::{self, LinkedConversation};
use crate::store::{Conn, Tenant, identity_secrets};

/// The most conversations of a visitor that are listed.
const MAX_LISTED: i64 = 50;
/// The longest preview of a conversation, in characters.
const MAX_PREVIEW: usize = 120;

/// The sender of a request of the widget API.
#[derive(Clone, Debug)]
pub struct Visitor {
    /// The account of the API key, if one was sent. If the request changes something, the key has the scope for it.
    pub account: Option<Account>,
    /// The origin of the page, unless it is a page of this server.
    pub origin: Option<String>,
    /// The token of `Rejoinder-Identity`, if one was sent.
    pub identity: Option<SecretString>,
    /// When the head of the request was read; the deadline of a reply is counted from then.
    pub arrived: Instant,
}

/// A conversation that a visitor may see.
#[derive(Clone, Debug)]
pub struct FoundConversation {
    pub conversation: Conversation,
    /// Its visitor, if it is one of an identified visitor: what their token says.
    pub identity: Option<Identity>,
}

/// The conversation of a widget UUID. One of an identified visitor is only found with a valid token of theirs: without one, the error is
/// that of an unknown conversation, whatever the origin is.
pub async fn find_conversation(
    services: &Services,
    link: WidgetUuid,
    visitor: &Visitor,
) -> Result<FoundConversation, Error> {
    let LinkedConversation { conversation, current_version } =
        find_by_link(services, link, visitor.account.as_ref()).await?;
    let identity = match &conversation.identity {
        None => None,
        Some(subject) => match verify_header(services, &conversation, visitor).await {
            Ok(identity) if identity.subject == *subject => Some(identity),
            Ok(_) | Err(Error::InvalidIdentity(_)) => return Err(ConversationId::not_found(link)),
            Err(error) => return Err(error),
        },
    };
    if visitor.origin.is_some() {
        let (workspace, assistant) = (conversation.workspace, conversation.assistant);
        let version = services.versions.get(services, workspace, assistant, current_version).await?;
        check_origin(version.as_deref(), visitor.origin.as_deref())?;
    }
    Ok(FoundConversation { conversation, identity })
}

/// The conversation of a widget UUID, for a request that an API key authorises by itself. A conversation of another workspace than the
/// key's is reported as unknown.
pub(super) async fn find_by_link(
    services: &Services,
    link: WidgetUuid,
    account: Option<&Account>,
) -> Result<LinkedConversation, Error> {
    let find = async |conn: Conn<'_>| conversations::find_by_link(conn, link).await;
    let found = services.db.read(Tenant::Unknown, find).await?;
    found
        .filter(|found| account.is_none_or(|account| account.workspace == found.conversation.workspace))
        .ok_or_else(|| ConversationId::not_found(link))
}

/// Checks that a page of this origin may talk to an assistant.
pub(super) fn check_origin(version: Option<&AssistantVersion>, origin: Option<&str>) -> Result<(), Error> {
    let is_allowed = origin.is_none_or(|origin| version.is_some_and(|version| version.allows_origin(origin)));
    if is_allowed { Ok(()) } else { Err(Error::OriginRefused) }
}

/// The conversations of an identified visitor with an assistant, the one with the newest message or change first.
pub async fn list_conversations(
    services: &Services,
    assistant: AssistantId,
    visitor: &Visitor,
) -> Result<Vec<IdentifiedConversation>, Error> {
    let (account, origin) = (visitor.account.as_ref(), visitor.origin.as_deref());
    let (workspace, _) = widget_assistant::find(services, assistant, account, origin).await?;
    let identity = verify(services, workspace, assistant, token_of(visitor)).await?;
    // One character more shows that a message is longer.
    let (subject, preview) = (identity.subject.as_str(), i32::try_from(MAX_PREVIEW + 1).unwrap_or(i32::MAX));
    let list = async |conn: Conn<'_>| {
        conversations::list_identified(conn, workspace, assistant, subject, preview, MAX_LISTED).await
    };
    let mut listed = services.db.read(workspace, list).await?;
    for conversation in &mut listed {
        conversation.preview = conversation.preview.take().map(cut);
    }
    Ok(listed)
}

/// The beginning of a text, with an ellipsis if it is longer.
fn cut(text: String) -> String {
    match text.char_indices().nth(MAX_PREVIEW) {
        None => text,
        Some(_) => text.chars().take(MAX_PREVIEW - 1).chain(['…']).collect(),
    }
}

async fn verify_header(
    services: &Services,
    conversation: &Conversation,
    visitor: &Visitor,
) -> Result<Identity, Error> {
    verify(services, conversation.workspace, conversation.assistant, token_of(visitor)).await
}

fn token_of(visitor: &Visitor) -> &str {
    visitor.identity.as_ref().map_or("", |token| token.expose_secret())
}

/// Checks a token for the visitors of an assistant.
pub(super) async fn verify(
    services: &Services,
    workspace: WorkspaceId,
    assistant: AssistantId,
    token: &str,
) -> Result<Identity, Error> {
    if token.is_empty() {
        return Err(Error::InvalidIdentity(InvalidIdentity::Missing));
    }
    let list = async |conn: Conn<'_>| identity_secrets::list(conn, workspace, assistant).await;
    let stored = services.db.read(workspace, list).await?;
    let secrets = stored.iter().map(|secret| open(services, secret)).collect::<Result<Vec<_>, _>>()?;
    identity::verify(token, assistant, &secrets, services.clock.now()).map_err(Error::InvalidIdentity)
}

fn open(services: &Services, stored: &IdentitySecret) -> Result<SecretString, Error> {
    let no_key = || Error::internal("the server has no key to open an identity secret");
    let keys = services.seal_keys.as_ref().ok_or_else(no_key)?;
    let context = SecretContext::of_identity(stored.workspace, stored.id);
    keys.open(&context, &stored.secret).map_err(Error::internal)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_preview_ends_with_an_ellipsis() {
        assert_eq!(cut("ü".repeat(120)), "ü".repeat(120));
        assert_eq!(cut("ü".repeat(121)), format!("{}…", "ü".repeat(119)));
    }
}
