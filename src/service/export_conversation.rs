//! Exports a conversation of any length with all its messages as one document, which is read and written page by page.

use futures::Stream;

use super::{Services, audit_log, page};
use crate::domain::account::Account;
use crate::domain::audit::{AuditAction, AuditEntry, AuditObject, ObjectKind};
use crate::domain::error::Error;
use crate::domain::ids::{ConversationId, ResourceId as _, WorkspaceId};
use crate::domain::transcript::{ExportFormat, Transcript};
use crate::store::{Conn, conversations, messages};

/// The rows that one page reads at most, of at most 1 MiB.
const PAGE_ROWS: usize = 1000;

/// A document that is being written. It has the messages that the conversation had at its beginning.
struct Export {
    services: Services,
    workspace: WorkspaceId,
    conversation: ConversationId,
    transcript: Transcript,
    /// The position of the last message that was written, and of the last one there is.
    written: i64,
    last: i64,
    has_ended: bool,
}

/// Begins the export of a conversation of the account's workspace, and enters it into the audit log if its document is sent. Returns its id
/// and the document, which breaks off with an error if it cannot be completed.
pub async fn export(
    services: &Services,
    account: &Account,
    name: &str,
    format: ExportFormat,
    is_sent: bool,
) -> Result<(ConversationId, impl Stream<Item = Result<String, Error>> + Send + use<>), Error> {
    let id = ConversationId::parse(name)?;
    let (workspace, now) = (account.workspace, services.clock.now());
    let object = AuditObject::new(ObjectKind::Conversation, id, None);
    let entry = AuditEntry::new(workspace, &account.actor, AuditAction::Exported, object);
    let begin = async |mut conn: Conn<'_>| {
        let found = conversations::find(conn.reborrow(), workspace, id).await?;
        if found.is_some() && is_sent {
            audit_log::record(conn, services.clock.as_ref(), &services.ids, &entry).await?;
        }
        Ok(found)
    };
    let conversation = services.db.write(workspace, begin).await?;
    let conversation = conversation.ok_or_else(|| ConversationId::not_found(name))?;
    let (transcript, head) = Transcript::begin(format, &conversation, now);
    let export = Export {
        services: services.clone(),
        workspace,
        conversation: id,
        transcript,
        written: 0,
        last: conversation.next_position - 1,
        has_ended: false,
    };
    Ok((id, export.stream(head)))
}

impl Export {
    fn stream(self, head: String) -> impl Stream<Item = Result<String, Error>> + Send + use<> {
        futures::stream::unfold((Some(self), Some(head)), async |(export, head)| {
            if let Some(head) = head {
                return Some((Ok(head), (export, None)));
            }
            let mut export = export?;
            match export.next().await {
                Ok(Some(text)) => Some((Ok(text), (Some(export), None))),
                Ok(None) => None,
                Err(error) => Some((Err(error), (None, None))),
            }
        })
    }

    /// The next part of the document; none after its end.
    async fn next(&mut self) -> Result<Option<String>, Error> {
        if self.has_ended {
            return Ok(None);
        }
        if self.written >= self.last {
            self.has_ended = true;
            return Ok(Some(self.transcript.end()));
        }
        let (workspace, id, after) = (self.workspace, self.conversation, self.written);
        let limit = page::read_limit(PAGE_ROWS);
        let read = async |conn: Conn<'_>| messages::list_after(conn, workspace, id, after, limit).await;
        let page = self.services.db.read(workspace, read).await?;
        // Messages that were removed meanwhile would be missing silently.
        let position = page.rows.last().map(|message| message.position);
        self.written = position.ok_or_else(|| ConversationId::not_found(id))?;
        let last = self.last;
        let rows = page.rows.iter().filter(|message| message.position <= last);
        Ok(Some(rows.map(|message| self.transcript.message(message)).collect()))
    }
}
