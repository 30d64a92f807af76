//! A conversation and its messages, for either API.

use super::Services;
use super::page::{self, Page};
use super::visitors::{self, Visitor};
use crate::domain::account::Account;
use crate::domain::conversation::{Conversation, SenderType};
use crate::domain::error::Error;
use crate::domain::ids::{ConversationId, MessageId, ResourceId as _, WidgetUuid};
use crate::domain::message::Message;
use crate::store::{Conn, ReadLimit, conversations, messages};

/// The conversation of the account's workspace with this id, as it was sent.
pub async fn find(services: &Services, account: &Account, name: &str) -> Result<Conversation, Error> {
    let id = ConversationId::parse(name)?;
    let workspace = account.workspace;
    let found = services.db.read(workspace, async |conn| conversations::find(conn, workspace, id).await);
    found.await?.ok_or_else(|| ConversationId::not_found(name))
}

/// At most `limit` messages of a conversation after a position (0: from the first), the oldest first.
pub async fn list_messages(
    services: &Services,
    account: &Account,
    name: &str,
    after: i64,
    limit: usize,
) -> Result<Page<Message, i64>, Error> {
    let conversation = find(services, account, name).await?;
    let (workspace, id) = (account.workspace, conversation.id);
    let read = async |conn: Conn<'_>, limit| messages::list_after(conn, workspace, id, after, limit).await;
    Page::read_within_bytes(&services.db, workspace, limit, read, |message| message.position).await
}

/// A widget's request for the history.
#[derive(Clone, Debug)]
pub struct HistoryRequest {
    pub link: WidgetUuid,
    pub visitor: Visitor,
    /// The id of a message, as it was sent: only newer messages are returned.
    pub after: Option<String>,
    pub limit: usize,
}

/// A conversation and its history as a visitor sees it, without system messages, the oldest first: the newest `limit`
/// messages, or the first `limit` after a message; fewer if they are large, but at least one.
pub async fn read_history(
    services: &Services,
    request: HistoryRequest,
) -> Result<(Conversation, Vec<Message>), Error> {
    let found = visitors::find_conversation(services, request.link, &request.visitor).await?;
    let conversation = found.conversation;
    let visible = match &request.after {
        Some(name) => {
            let after = position(services, &conversation, name).await?;
            list_visible_after(services, &conversation, after, request.limit).await?
        }
        None => list_newest_visible(services, &conversation, request.limit).await?,
    };
    Ok((conversation, visible))
}

async fn position(services: &Services, conversation: &Conversation, name: &str) -> Result<i64, Error> {
    let id = MessageId::parse(name)?;
    let workspace = conversation.workspace;
    let found = services.db.read(workspace, async |conn| messages::find(conn, workspace, id).await).await?;
    let found = found.filter(|message| message.conversation == conversation.id);
    found.map(|message| message.position).ok_or_else(|| MessageId::not_found(name))
}

/// The visible messages of a history, within its limit.
struct History {
    messages: Vec<Message>,
    limit: ReadLimit,
    rows_left: usize,
    bytes_left: i64,
}

impl History {
    fn new(limit: usize) -> Self {
        let read_limit = page::read_limit(limit);
        Self { messages: Vec::new(), limit: read_limit, rows_left: limit, bytes_left: read_limit.bytes }
    }

    /// Adds the messages that are visible. Returns false once the limit is reached.
    fn extend(&mut self, messages: impl IntoIterator<Item = Message>) -> bool {
        for message in messages.into_iter().filter(is_visible) {
            let bytes = i64::try_from(message.content_bytes()).unwrap_or(i64::MAX);
            if self.rows_left == 0 || (bytes > self.bytes_left && !self.messages.is_empty()) {
                return false;
            }
            self.rows_left -= 1;
            self.bytes_left = self.bytes_left.saturating_sub(bytes);
            self.messages.push(message);
        }
        self.rows_left > 0
    }
}

/// Reads past pages that contain only system messages, which must not look like the end.
async fn list_visible_after(
    services: &Services,
    conversation: &Conversation,
    mut after: i64,
    limit: usize,
) -> Result<Vec<Message>, Error> {
    let (workspace, id) = (conversation.workspace, conversation.id);
    let mut history = History::new(limit);
    loop {
        let limit = history.limit;
        let read = async |conn: Conn<'_>| messages::list_after(conn, workspace, id, after, limit).await;
        let found = services.db.read(workspace, read).await?;
        after = found.rows.last().map_or(after, |last| last.position);
        if !history.extend(found.rows) || !found.has_more {
            return Ok(history.messages);
        }
    }
}

async fn list_newest_visible(
    services: &Services,
    conversation: &Conversation,
    limit: usize,
) -> Result<Vec<Message>, Error> {
    let (workspace, id) = (conversation.workspace, conversation.id);
    let mut history = History::new(limit);
    let mut up_to = i64::MAX;
    loop {
        let limit = history.limit;
        let read = async |conn: Conn<'_>| messages::list_newest(conn, workspace, id, up_to, limit).await;
        let found = services.db.read(workspace, read).await?;
        up_to = found.rows.first().map_or(up_to, |oldest| oldest.position - 1);
        if !history.extend(found.rows.into_iter().rev()) || !found.has_more {
            history.messages.reverse();
            return Ok(history.messages);
        }
    }
}

/// Whether visitors see a message.
pub(super) fn is_visible(message: &Message) -> bool {
    message.sender_type != SenderType::System
}
