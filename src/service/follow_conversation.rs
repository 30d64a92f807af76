//! A visitor follows a conversation: its status, its visible messages, and whether a person types. The events of the feed say that there is
//! something new; what the visitor gets is read from the conversation, as its history is.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use uuid::Uuid;

use super::Services;
use super::follow_events::Follower;
use super::read_conversation::is_visible;
use super::read_events::{FeedReader, StartPosition, open_at};
use super::visitors::{FoundConversation, Visitor, find_conversation};
use crate::domain::clock::{Clock, Micros};
use crate::domain::conversation::{Conversation, SenderType};
use crate::domain::error::Error;
use crate::domain::event::{Event, EventFilter, EventType};
use crate::domain::failure::Failure;
use crate::domain::identity::Identity;
use crate::domain::ids::{ConversationId, EventId, ResourceId as _, WidgetUuid, WorkspaceId};
use crate::domain::message::Message;
use crate::domain::render::message_of_event;
use crate::store::{Conn, conversations, events, messages};

/// The events that say that there is something new for a visitor.
const TYPES: [EventType; 4] = [
    EventType::ConversationDeleted,
    EventType::ConversationEnded,
    EventType::ConversationUpdated,
    EventType::MessageCreated,
];

/// A visitor's request.
#[derive(Clone, Debug)]
pub struct FollowRequest {
    pub link: WidgetUuid,
    pub visitor: Visitor,
    pub after: StartPosition,
}

/// Whether the AI answers, and whether messages are accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConversationStatus {
    pub ai_enabled: bool,
    pub has_ended: bool,
}

impl From<&Conversation> for ConversationStatus {
    fn from(conversation: &Conversation) -> Self {
        Self { ai_enabled: conversation.ai_enabled, has_ended: conversation.ended_at.is_some() }
    }
}

/// What a visitor learns.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ConversationNews {
    Status(ConversationStatus),
    /// Messages may be missing before the next one: the history has them.
    Reset,
    Message(Box<Message>),
    /// Whether a person types.
    Typing(bool),
}

/// A visitor who follows a conversation; unsubscribes when it is dropped.
#[derive(Debug)]
pub struct ConversationFollower {
    follower: Follower,
    workspace: WorkspaceId,
    conversation: ConversationId,
    link: WidgetUuid,
    visitor: Visitor,
    /// When the token of an identified visitor is no longer accepted.
    ends_at: Option<Micros>,
    /// What comes first.
    first: VecDeque<ConversationNews>,
    /// Events that were read, and whose news are not yet returned.
    events: VecDeque<Arc<Event>>,
    /// The last event of the conversation whose news were returned: a position that says nothing of other conversations.
    position: EventId,
    /// The status that was returned last.
    status: ConversationStatus,
    typed_at: watch::Receiver<Option<Micros>>,
    was_typing: bool,
    /// When an agent last wrote: who typed before has finished.
    written_at: Option<Micros>,
}

/// What an event has led to.
enum Found {
    News(ConversationNews),
    Nothing,
    /// The conversation was deleted.
    End,
}

/// Begins to follow a conversation at the requested position; at the newest one if that is gone.
///
/// # Errors
/// [`Error::LimitReached`] if the conversation has too many followers, [`Error::Overloaded`] if there are too many in all; an error if the
/// workspace is suspended.
pub async fn follow(services: &Services, request: FollowRequest) -> Result<ConversationFollower, Error> {
    let FollowRequest { link, visitor, after } = request;
    let FoundConversation { conversation, identity } = find_conversation(services, link, &visitor).await?;
    let Conversation { workspace, id, .. } = conversation;
    let following = async |conn: Conn<'_>| conversations::list_following(conn, &[link]).await;
    if services.db.read(workspace, following).await?.is_empty() {
        return Err(Error::Processing(Failure::WorkspaceSuspended));
    }
    let Opened { reader, position, is_reset } = open(services, workspace, id, after).await?;
    let (subscription, typed_at) = services.followers.subscribe_link(workspace, link)?;
    // After the position: an event in between changes nothing.
    let read = async |conn: Conn<'_>| conversations::find(conn, workspace, id).await;
    let conversation = services.db.read(workspace, read).await?;
    let conversation = conversation.ok_or_else(|| ConversationId::not_found(link))?;
    let status = ConversationStatus::from(&conversation);
    let mut first = VecDeque::from([ConversationNews::Status(status)]);
    if is_reset {
        first.push_back(ConversationNews::Reset);
    }
    Ok(ConversationFollower {
        position,
        follower: Follower::new(subscription, reader),
        workspace,
        conversation: id,
        link,
        visitor,
        ends_at: identity.as_ref().map(Identity::ends_at),
        first,
        events: VecDeque::new(),
        status,
        typed_at,
        was_typing: false,
        written_at: None,
    })
}

/// A reader of the conversation's events.
struct Opened {
    reader: FeedReader,
    /// The last event of the conversation before it.
    position: EventId,
    /// Whether the requested position is gone, so that it begins at the newest one.
    is_reset: bool,
}

async fn open(
    services: &Services,
    workspace: WorkspaceId,
    conversation: ConversationId,
    after: StartPosition,
) -> Result<Opened, Error> {
    let _permit = services.followers.acquire_read_permit(workspace).await;
    let filter = EventFilter { types: TYPES.to_vec(), conversation: Some(conversation) };
    let opened = open_at(services, workspace, (after, "The position"), filter.clone()).await;
    let (reader, is_reset) = match opened {
        Err(Error::CursorExpired(_) | Error::Conflict(_)) => {
            let latest = (StartPosition::Latest, "The position");
            (open_at(services, workspace, latest, filter).await?, true)
        }
        opened => (opened?, false),
    };
    let newest =
        async |conn: Conn<'_>| events::find_newest_of(conn, workspace, conversation, reader.cursor).await;
    // Retention may have removed all events of the conversation. No event has the nil id, so a client that resumes there gets a reset.
    let position = services.db.read(workspace, newest).await?.unwrap_or(EventId(Uuid::nil()));
    Ok(Opened { reader, position, is_reset })
}

/// Waits until this time; for ever if there is none.
async fn wait_until(time: Option<Micros>, clock: &dyn Clock) {
    match time {
        Some(time) => tokio::time::sleep(time.since(clock.now())).await,
        None => std::future::pending().await,
    }
}

impl ConversationFollower {
    /// The last event whose news were returned: where a new follower resumes. The nil id if there is none.
    #[must_use]
    pub fn position(&self) -> EventId {
        self.position
    }

    /// Waits for the next news. `None` once the conversation is deleted, its link is replaced, the token of an identified visitor has
    /// expired, the workspace is suspended or the process stops. Cancel safe.
    ///
    /// # Errors
    /// The error of [`find_conversation`] if the visitor may not see the conversation any more, [`Error::CursorExpired`] if retention has
    /// removed events that it has not read, [`Error::Unavailable`] or [`Error::Internal`] if the store failed.
    pub async fn next(&mut self, services: &Services) -> Result<Option<ConversationNews>, Error> {
        let clock = services.clock.as_ref();
        while !self.follower.has_ended() && self.ends_at.is_none_or(|ends_at| clock.now() < ends_at) {
            if let Some(news) = self.first.pop_front() {
                return Ok(Some(news));
            }
            if self.has_news() {
                self.check_access(services).await?;
            }
            if let Some(is_typing) = self.changed_typing() {
                return Ok(Some(ConversationNews::Typing(is_typing)));
            }
            if let Some(event) = self.events.front().map(Arc::clone) {
                let found = self.read(services, &event).await?;
                self.events.pop_front();
                self.position = event.id;
                match found {
                    Found::News(news) => return Ok(Some(self.remember(news))),
                    Found::Nothing => continue,
                    Found::End => return Ok(None),
                }
            }
            tokio::select! {
                // The sender lives as long as the subscription.
                _ = self.typed_at.changed() => {}
                () = wait_until(self.ends_at, clock) => {}
                events = self.follower.next_batch(services) => match events? {
                    Some(events) => self.events = events.into(),
                    None => return Ok(None),
                },
            }
        }
        Ok(None)
    }

    /// Waits for this long, or until the follower has ended.
    pub async fn pause(&self, length: Duration) {
        self.follower.pause(length).await;
    }

    fn has_news(&self) -> bool {
        !self.events.is_empty() || self.is_typing() != self.was_typing
    }

    /// Checks before each frame that the visitor may still see the conversation: the secret of an identity token may have been removed, and
    /// the origin of the page from the assistant. The poll checks links.
    async fn check_access(&self, services: &Services) -> Result<(), Error> {
        if self.ends_at.is_some() || self.visitor.origin.is_some() {
            find_conversation(services, self.link, &self.visitor).await?;
        }
        Ok(())
    }

    fn is_typing(&self) -> bool {
        let typed_at = *self.typed_at.borrow();
        typed_at.is_some() && typed_at > self.written_at
    }

    /// Whether a person types, if that has changed.
    fn changed_typing(&mut self) -> Option<bool> {
        self.typed_at.mark_unchanged();
        let is_typing = self.is_typing();
        let has_changed = std::mem::replace(&mut self.was_typing, is_typing) != is_typing;
        has_changed.then_some(is_typing)
    }

    fn remember(&mut self, news: ConversationNews) -> ConversationNews {
        match &news {
            ConversationNews::Status(status) => self.status = *status,
            ConversationNews::Message(message) if message.sender_type == SenderType::Agent => {
                self.written_at = self.written_at.max(Some(message.created_at));
            }
            ConversationNews::Message(_) | ConversationNews::Reset | ConversationNews::Typing(_) => {}
        }
        news
    }

    async fn read(&self, services: &Services, event: &Event) -> Result<Found, Error> {
        match event.kind {
            EventType::MessageCreated => self.read_message(services, event).await,
            EventType::ConversationUpdated | EventType::ConversationEnded => self.read_status(services).await,
            EventType::ConversationDeleted => Ok(Found::End),
            EventType::ConversationCreated
            | EventType::MessageFeedback
            | EventType::ReplyFailed
            | EventType::ReplyDiscarded
            | EventType::BalanceLow
            | EventType::WebhookEndpointDisabled
            | EventType::WebhookEndpointTest => Ok(Found::Nothing),
        }
    }

    /// The message of an event, unless it was removed or is not for visitors.
    async fn read_message(&self, services: &Services, event: &Event) -> Result<Found, Error> {
        let Some(id) = message_of_event(&event.body) else { return Ok(Found::Nothing) };
        let workspace = self.workspace;
        let find = async |conn: Conn<'_>| messages::find(conn, workspace, id).await;
        let message = services.db.read(workspace, find).await?.filter(is_visible);
        Ok(message
            .map_or(Found::Nothing, |message| Found::News(ConversationNews::Message(Box::new(message)))))
    }

    /// The status, if it has changed.
    async fn read_status(&self, services: &Services) -> Result<Found, Error> {
        let (workspace, id) = (self.workspace, self.conversation);
        let find = async |conn: Conn<'_>| conversations::find(conn, workspace, id).await;
        let Some(conversation) = services.db.read(workspace, find).await? else { return Ok(Found::End) };
        let status = ConversationStatus::from(&conversation);
        Ok(if status == self.status { Found::Nothing } else { Found::News(ConversationNews::Status(status)) })
    }
}
