//! `rejoinder apply`: makes the database match a workspace file, in one transaction. The file, its documents and its
//! secrets are read before anything is locked. The locks are acquired in the same order as in the writer: the
//! workspace's state, its conversations, its calendars, its knowledge bases.

mod api_made;
mod assistants;
mod audit;
mod calendars;
mod changes;
mod checks;
mod command;
mod conversations;
mod error;
mod identity_secrets;
mod knowledge_bases;
mod mcp;
mod prepare;
mod tools;
mod webhook_endpoints;
mod workspace;

use std::collections::HashMap;
use std::fmt;
use std::path::Path;
use std::sync::Arc;

use secrecy::SecretString;
use serde::Serialize;
use uuid::Uuid;

pub use changes::{Action, Change};
pub use error::ApplyError;
pub(super) use prepare::PreparedFile;

use audit::{AuditedChange, Values};

use crate::domain::audit::Actor;
use crate::domain::clock::{Clock, Micros};
use crate::domain::conversation::Conversation;
use crate::domain::ids::{IdGenerator, WidgetUuid, WorkspaceId};
use crate::domain::knowledge::KnowledgeBase;
use crate::domain::seal::SealKeys;
use crate::domain::webhook_endpoint::Endpoint;
use crate::domain::workspace::Workspace;
use crate::outbound::{AllowHosts, GuardedClient};
use crate::service::knowledge::DocumentExtractor;
use crate::store::assistants::AssistantRow;
use crate::store::workspace_config::{self, ConfigRow, Section};
use crate::store::{Conn, Db, StoreError, workspaces};
use crate::writer::decide_inline;
use command::ApplyCommand;

/// Maximum number of attempts if the error may be transient.
const MAX_ATTEMPTS: usize = 3;

/// The dependencies of `apply`.
#[derive(Clone, Copy)]
pub struct ApplyContext<'a> {
    pub db: &'a Db,
    pub clock: &'a dyn Clock,
    pub ids: &'a IdGenerator,
    /// Required if the file has a secret or a webhook endpoint.
    pub seal: Option<&'a SealKeys>,
    /// The client for MCP servers; it must allow `allow_hosts`, too.
    pub outbound: &'a GuardedClient,
    /// Private hosts that tools of every workspace may reach.
    pub allow_hosts: &'a AllowHosts,
    /// Whether the configuration has a model connection of this name.
    pub has_connection: &'a (dyn Fn(&str) -> bool + Sync),
    /// Extracts the text of the file's documents.
    pub document_extractor: &'a DocumentExtractor,
    /// The folder of the files that the file names, none of which is outside of it; without it, paths are refused.
    pub folder: Option<&'a Path>,
    /// Looks up the secret that `{ env = "NAME" }` refers to. The error says why a secret that is set cannot be read.
    pub secret: &'a (dyn Fn(&str) -> Result<Option<SecretString>, String> + Sync),
    /// Called at the beginning of each step.
    pub progress: &'a (dyn Fn(ApplyStep) + Sync),
}

/// A step that may take long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ApplyStep {
    /// Reads and splits a document; `number` counts from 1.
    ReadDocument {
        number: usize,
        total: usize,
    },
    /// Asks so many MCP servers for their tools.
    ListTools {
        servers: usize,
    },
    Write,
}

impl fmt::Debug for ApplyContext<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ApplyContext").finish_non_exhaustive()
    }
}

/// Whether the transaction is committed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    Apply,
    /// All changes are made and then rolled back.
    DryRun,
}

/// The outcome of an apply, or of a dry run.
#[derive(Clone, Debug)]
pub struct ApplyResult {
    pub workspace: WorkspaceId,
    pub slug: String,
    /// The ids of the file's entries, by kind and in the order of the file. A dry run invents those of new ones.
    pub ids: Vec<EntryId>,
    /// Empty if the database already matched the file.
    pub changes: Vec<Change>,
    /// Settings that were applied but do not work with this process's configuration; the server's may differ.
    pub warnings: Vec<String>,
    /// Secrets generated for webhook endpoints for which the file names none.
    pub secrets: Vec<GeneratedSecret>,
}

/// The id of an entry, as both APIs name it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct EntryId {
    /// `assistant`, `calendar`, `knowledge base`, `tool` or `webhook endpoint`.
    pub section: &'static str,
    pub slug: String,
    pub id: String,
    /// The UUID in it, which names an assistant, too.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub uuid: Option<Uuid>,
}

impl fmt::Display for EntryId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}: {}", self.section, self.slug, self.id)?;
        self.uuid.map_or(Ok(()), |uuid| write!(f, " or {uuid}"))
    }
}

/// A generated signing secret. It is shown once.
#[derive(Clone, Debug)]
pub struct GeneratedSecret {
    /// The endpoint's slug.
    pub endpoint: String,
    /// `whsec_…`.
    pub secret: SecretString,
}

/// Makes the database match the file.
///
/// # Errors
/// Nothing was changed, except perhaps after [`ApplyError::UncertainCommit`]; then the same file can be applied again.
pub async fn apply(context: &ApplyContext<'_>, text: &str, mode: Mode) -> Result<ApplyResult, ApplyError> {
    let prepared = PreparedFile::read(context, text).await?;
    (context.progress)(ApplyStep::Write);
    for _ in 1..MAX_ATTEMPTS {
        match try_apply(context, &prepared, mode).await {
            Err(ApplyError::Store(error)) if is_retryable(&error) => {}
            // A concurrent apply may have created this workspace after it was looked up here. Its rows then seem to
            // belong to another workspace.
            Err(ApplyError::Refused(_)) => {}
            outcome => return outcome,
        }
    }
    try_apply(context, &prepared, mode).await
}

/// Whether the error is a deadlock, or a conflict with a concurrent apply that created the same row, which the next
/// attempt reads.
fn is_retryable(error: &StoreError) -> bool {
    error.is_transient() || matches!(error, StoreError::Data(_))
}

async fn try_apply(
    context: &ApplyContext<'_>,
    prepared: &PreparedFile,
    mode: Mode,
) -> Result<ApplyResult, ApplyError> {
    let mut tx = context.db.begin().await?;
    let actor = Arc::new(Actor::command("rejoinder apply"));
    let applied = apply_in_transaction(context, prepared, tx.conn(), &actor).await?;
    if mode == Mode::Apply && !applied.changes.is_empty() {
        tx.commit().await.map_err(ApplyError::UncertainCommit)?;
    }
    Ok(applied)
}

/// Applies the file within the transaction of the caller, with an entry of the audit log for each change.
pub(super) async fn apply_in_transaction(
    context: &ApplyContext<'_>,
    prepared: &PreparedFile,
    mut conn: Conn<'_>,
    actor: &Arc<Actor>,
) -> Result<ApplyResult, ApplyError> {
    let current = CurrentState::lock_and_read(conn.reborrow(), prepared).await?;
    let workspace = match &current.workspace {
        Some(workspace) => workspace.id,
        None => WorkspaceId(context.ids.uuid_v7(context.clock)),
    };
    let mut applier = Applier {
        context,
        prepared,
        workspace,
        now: context.clock.now(),
        ids: Vec::new(),
        actor,
        changes: Vec::new(),
        audited: Vec::new(),
        secrets: Vec::new(),
        warnings: prepared.warnings.clone(),
    };

    let ids = applier.assistant_ids(conn.reborrow(), &current).await?;
    applier.record_assistants(&ids);
    applier.put_workspace(conn.reborrow(), &current, &ids).await?;
    let calendars = applier.put_calendars(conn.reborrow(), &current).await?;
    let bases = applier.put_knowledge_bases(conn.reborrow(), &current).await?;
    let tools = applier.put_tools(conn.reborrow(), &current, &calendars, &bases).await?;
    let compiled = applier.put_assistants(conn.reborrow(), &current, &ids, &tools).await?;
    applier.update_api_made(conn.reborrow(), &current).await?;
    let command = ApplyCommand {
        workspace,
        credit: applier.opening_credit(&current),
        endpoints: applier.put_endpoints(&current)?,
        conversations: applier.put_conversations(conn.reborrow(), &current, &ids, &compiled).await?,
    };
    applier.write_audit_log(conn.reborrow()).await?;
    decide_inline(conn, context.clock, context.ids, &command).await?.map_err(ApplyError::Decision)?;
    Ok(ApplyResult {
        workspace,
        slug: prepared.file.workspace.slug.clone(),
        ids: applier.ids,
        changes: applier.changes,
        warnings: applier.warnings,
        secrets: applier.secrets,
    })
}

/// The stored workspace, read under its locks.
struct CurrentState {
    /// `None` if the workspace does not exist yet.
    workspace: Option<Workspace>,
    conversations: HashMap<WidgetUuid, Conversation>,
    calendars: Vec<ConfigRow>,
    /// Those that occupy a slug, including archived ones that a file created.
    knowledge_bases: Vec<KnowledgeBase>,
    tools: Vec<ConfigRow>,
    assistants: Vec<AssistantRow>,
    /// Those that a file created.
    endpoints: Vec<Endpoint>,
}

impl CurrentState {
    async fn lock_and_read(mut conn: Conn<'_>, prepared: &PreparedFile) -> Result<Self, ApplyError> {
        let slug = &prepared.file.workspace.slug;
        let found = workspaces::find_by_slug(conn.reborrow(), slug).await?;
        let Some(found) = found else {
            conversations::reject_foreign(conn, prepared, None).await?;
            return Ok(Self {
                workspace: None,
                conversations: HashMap::new(),
                calendars: Vec::new(),
                knowledge_bases: Vec::new(),
                tools: Vec::new(),
                assistants: Vec::new(),
                endpoints: Vec::new(),
            });
        };
        let id = found.id;
        workspaces::lock(conn.reborrow(), &[id].into()).await?;
        let conversations = conversations::lock(conn.reborrow(), prepared, id).await?;
        let calendars = calendars::lock(conn.reborrow(), id).await?;
        let knowledge_bases = crate::store::knowledge::knowledge_bases::lock_all(conn.reborrow(), id).await?;
        Ok(Self {
            // Read again, because a concurrent apply may have changed it before the lock was acquired.
            workspace: workspaces::find_by_slug(conn.reborrow(), slug).await?,
            conversations,
            calendars,
            knowledge_bases,
            tools: workspace_config::list(conn.reborrow(), Section::Tools, id).await?,
            assistants: crate::store::assistants::list_all(conn.reborrow(), id).await?,
            endpoints: webhook_endpoints::list_from_file(conn, id).await?,
        })
    }
}

/// The state of one apply.
struct Applier<'a> {
    context: &'a ApplyContext<'a>,
    prepared: &'a PreparedFile,
    workspace: WorkspaceId,
    now: Micros,
    ids: Vec<EntryId>,
    actor: &'a Arc<Actor>,
    changes: Vec<Change>,
    /// The changes that are not written by a command, for the audit log.
    audited: Vec<AuditedChange>,
    secrets: Vec<GeneratedSecret>,
    warnings: Vec<String>,
}

impl Applier<'_> {
    fn record_id(&mut self, section: &'static str, slug: &str, id: impl fmt::Display) {
        self.ids.push(EntryId { section, slug: slug.to_owned(), id: id.to_string(), uuid: None });
    }

    /// Writes a calendar or a tool, unless it is unchanged.
    async fn put_config_row(
        &mut self,
        conn: Conn<'_>,
        section: Section,
        row: ConfigRow,
        old: Option<&ConfigRow>,
    ) -> Result<(), ApplyError> {
        let keys = old.map(|old| changes::changed_keys(&old.text, &row.text)).unwrap_or_default();
        let Some(action) = Action::of(old.map(|old| old.archived), keys) else { return Ok(()) };
        workspace_config::put(conn, section, self.workspace, &row, self.now).await?;
        let values = Values { before: old.map(|old| old.text.as_str()), after: Some(&row.text) };
        self.record_change(
            changes::object_kind(section),
            changes::id_text(section, row.id),
            &row.slug,
            action,
            values,
        );
        Ok(())
    }

    /// Archives the rows that a file created and that are no longer in the file.
    async fn archive_missing(
        &mut self,
        mut conn: Conn<'_>,
        section: Section,
        rows: &[ConfigRow],
        has: impl Fn(&str) -> bool,
    ) -> Result<(), ApplyError> {
        for row in rows.iter().filter(|row| row.from_file && !row.archived && !has(&row.slug)) {
            workspace_config::archive(conn.reborrow(), section, self.workspace, row.id, self.now).await?;
            let id = changes::id_text(section, row.id);
            self.record_change(changes::object_kind(section), id, &row.slug, Action::Archived, Values::NONE);
        }
        Ok(())
    }
}

/// A file cannot change rows that were created through the API.
fn reject_api_owned(section: &str, slug: &str, from_file: bool) -> Result<(), ApplyError> {
    if from_file {
        return Ok(());
    }
    Err(ApplyError::Refused(format!("{section} \"{slug}\" was made through the API; choose another slug")))
}
