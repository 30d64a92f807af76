//! Conversations with a fixed widget UUID: made, given another assistant, never deleted.

use std::collections::{BTreeSet, HashMap};

use super::{Action, ApplyError, Before, Prepared, Run};
use crate::domain::assistant::Compiled;
use crate::domain::batch::{Creation, Item};
use crate::domain::conversation::Conversation;
use crate::domain::ids::{AssistantId, ConversationId, MessageId, WidgetUuid, WorkspaceId};
use crate::domain::workspace_file::FileConversation;
use crate::service::create_conversation::first_message;
use crate::store::{Conn, conversations};

/// Where the file's UUIDs lead. One that leads to another workspace is an error.
pub(super) async fn refuse_foreign(
    conn: Conn<'_>,
    prepared: &Prepared,
    own: Option<WorkspaceId>,
) -> Result<Vec<(WidgetUuid, ConversationId)>, ApplyError> {
    let links: Vec<_> = prepared.file.conversations.iter().map(|conversation| conversation.link).collect();
    let found = conversations::find_links(conn, &links).await?;
    if let Some((link, ..)) = found.iter().find(|(_, workspace, _)| Some(*workspace) != own) {
        let problem =
            format!("the conversation {link} is another workspace's: give it another id, or leave it out");
        return Err(ApplyError::Refused(problem));
    }
    Ok(found.into_iter().map(|(link, _, id)| (link, id)).collect())
}

/// Locks and reads those of the file's conversations that are there.
pub(super) async fn lock(
    mut conn: Conn<'_>,
    prepared: &Prepared,
    workspace: WorkspaceId,
) -> Result<HashMap<WidgetUuid, Conversation>, ApplyError> {
    let links = refuse_foreign(conn.reborrow(), prepared, Some(workspace)).await?;
    let named: BTreeSet<_> = links.iter().map(|(_, id)| (workspace, *id)).collect();
    let locked = conversations::lock(conn, &named).await?;
    let of_link = |(link, id): (WidgetUuid, ConversationId)| {
        let found = locked.iter().find(|conversation| conversation.id == id);
        found.map(|conversation| (link, conversation.clone()))
    };
    Ok(links.into_iter().filter_map(of_link).collect())
}

impl Run<'_> {
    /// Those that are to be made; what changes in others is written.
    pub(super) async fn put_conversations(
        &mut self,
        mut conn: Conn<'_>,
        before: &Before,
        ids: &HashMap<String, AssistantId>,
        compiled: &HashMap<String, Compiled>,
    ) -> Result<Vec<Item>, ApplyError> {
        let prepared = self.prepared;
        let mut items = Vec::new();
        for file in &prepared.file.conversations {
            let (Some(assistant), Some(version)) = (ids.get(&file.assistant), compiled.get(&file.assistant))
            else {
                continue;
            };
            match before.conversations.get(&file.link) {
                Some(old) => self.change_conversation(conn.reborrow(), file, old, *assistant).await?,
                None => items.push(self.create_conversation(file, *assistant, version)),
            }
        }
        Ok(items)
    }

    async fn change_conversation(
        &mut self,
        conn: Conn<'_>,
        file: &FileConversation,
        old: &Conversation,
        assistant: AssistantId,
    ) -> Result<(), ApplyError> {
        let link = file.link;
        if old.deleted_at.is_some() {
            let problem = format!("the conversation {link} was deleted; choose another id");
            return Err(ApplyError::Refused(problem));
        }
        if old.kind != file.kind {
            let kind = old.kind.as_str();
            let problem = format!("the conversation {link} is of type \"{kind}\"; that cannot change");
            return Err(ApplyError::Refused(problem));
        }
        if old.assistant != assistant {
            conversations::set_assistant(conn, self.workspace, old.id, assistant).await?;
            self.changed("conversation", link, Action::Changed(vec!["assistant".to_owned()]));
        }
        Ok(())
    }

    fn create_conversation(
        &mut self,
        file: &FileConversation,
        assistant: AssistantId,
        version: &Compiled,
    ) -> Item {
        let (ids, clock) = (self.site.ids, self.site.clock);
        self.changed("conversation", file.link, Action::Made);
        Item::Create(Box::new(Creation {
            workspace: self.workspace,
            id: ConversationId(ids.ordered(clock)),
            kind: file.kind,
            assistant,
            link: Some(file.link),
            first_message: first_message(version, &version.variables)
                .map(|text| (MessageId(ids.ordered(clock)), text)),
            key_variables: "{}".to_owned(),
            visitor_variables: "{}".to_owned(),
            metadata: None,
            external_identifier: None,
            check_balance: false,
            idempotency: None,
        }))
    }
}
