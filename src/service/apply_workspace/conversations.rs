//! Conversations with a fixed widget UUID. They are created or assigned another assistant, never deleted.

use std::collections::{BTreeSet, HashMap};

use serde_json::Map;

use super::{Action, Applier, ApplyError, CurrentState, PreparedFile, Values};
use crate::domain::assistant::AssistantVersion;
use crate::domain::audit::ObjectKind;
use crate::domain::conversation::Conversation;
use crate::domain::ids::{AssistantId, ConversationId, MessageId, WidgetUuid, WorkspaceId};
use crate::formats::workspace_file::FileConversation;
use crate::service::create_conversation::first_message;
use crate::store::{Conn, conversations};
use crate::writer::NewConversation;

/// Finds the existing conversations with the file's UUIDs. A conversation of another workspace is an error.
pub(super) async fn reject_foreign(
    conn: Conn<'_>,
    prepared: &PreparedFile,
    own_workspace: Option<WorkspaceId>,
) -> Result<Vec<(WidgetUuid, ConversationId)>, ApplyError> {
    let links: Vec<_> = prepared.file.conversations.iter().map(|conversation| conversation.link).collect();
    let found = conversations::find_links(conn, &links).await?;
    if let Some((link, ..)) = found.iter().find(|(_, workspace, _)| Some(*workspace) != own_workspace) {
        let problem =
            format!("the conversation {link} is another workspace's: give it another id, or leave it out");
        return Err(ApplyError::Refused(problem));
    }
    Ok(found.into_iter().map(|(link, _, id)| (link, id)).collect())
}

/// Locks and reads those of the file's conversations that already exist.
pub(super) async fn lock(
    mut conn: Conn<'_>,
    prepared: &PreparedFile,
    workspace: WorkspaceId,
) -> Result<HashMap<WidgetUuid, Conversation>, ApplyError> {
    let links = reject_foreign(conn.reborrow(), prepared, Some(workspace)).await?;
    let named: BTreeSet<_> = links.iter().map(|(_, id)| (workspace, *id)).collect();
    let locked = conversations::lock(conn, &named).await?;
    let of_link = |(link, id): (WidgetUuid, ConversationId)| {
        let found = locked.iter().find(|conversation| conversation.id == id);
        found.map(|conversation| (link, conversation.clone()))
    };
    Ok(links.into_iter().filter_map(of_link).collect())
}

impl Applier<'_> {
    /// Updates the existing conversations and returns commands for those to create.
    pub(super) async fn put_conversations(
        &mut self,
        mut conn: Conn<'_>,
        current: &CurrentState,
        ids: &HashMap<String, AssistantId>,
        compiled: &HashMap<String, AssistantVersion>,
    ) -> Result<Vec<NewConversation>, ApplyError> {
        let prepared = self.prepared;
        let mut commands = Vec::new();
        for file in &prepared.file.conversations {
            let (Some(assistant), Some(version)) = (ids.get(&file.assistant), compiled.get(&file.assistant))
            else {
                continue;
            };
            match current.conversations.get(&file.link) {
                Some(old) => self.update_conversation(conn.reborrow(), file, old, *assistant).await?,
                None => commands.push(self.create_conversation(file, *assistant, version)),
            }
        }
        Ok(commands)
    }

    async fn update_conversation(
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
            let action = Action::Changed(vec!["assistant".to_owned()]);
            self.record_change(ObjectKind::Conversation, old.id, link, action, Values::NONE);
        }
        Ok(())
    }

    fn create_conversation(
        &mut self,
        file: &FileConversation,
        assistant: AssistantId,
        version: &AssistantVersion,
    ) -> NewConversation {
        let (ids, clock) = (self.context.ids, self.context.clock);
        let id = ConversationId(ids.uuid_v7(clock));
        self.record_change(ObjectKind::Conversation, id, file.link, Action::Created, Values::NONE);
        let variables = version.rank_variables(Map::new(), Map::new());
        NewConversation {
            workspace: self.workspace,
            id,
            kind: file.kind,
            assistant,
            link: Some(file.link),
            first_message: first_message(version, &variables.all())
                .map(|text| (MessageId(ids.uuid_v7(clock)), text)),
            key_variables: "{}".to_owned(),
            visitor_variables: "{}".to_owned(),
            metadata: None,
            external_identifier: None,
            identity: None,
            by_visitor: false,
            check_balance: false,
            idempotency: None,
        }
    }
}
