//! `rejoinder apply`: makes the store match a workspace file, in one transaction. The
//! file, its documents and its secrets are read before anything is locked; then the locks are taken
//! in the writer's order: the workspace's state, its conversations, its calendars, and
//! then its knowledge bases.

mod assistants;
mod calendars;
mod changes;
mod command;
mod conversations;
mod error;
mod knowledge_bases;
mod mcp;
mod prepare;
mod tools;
mod webhook_endpoints;
mod workspace;

use std::collections::HashMap;
use std::fmt;
use std::path::Path;

use secrecy::SecretString;

pub use changes::{Action, Change};
pub use error::ApplyError;
pub(super) use prepare::PreparedFile;

use crate::domain::clock::{Clock, Micros};
use crate::domain::conversation::Conversation;
use crate::domain::ids::{IdGenerator, WidgetUuid, WorkspaceId};
use crate::domain::knowledge::KnowledgeBase;
use crate::domain::seal::SealKey;
use crate::domain::webhook_endpoint::Endpoint;
use crate::domain::workspace::Workspace;
use crate::outbound::{AllowHosts, GuardedClient};
use crate::service::knowledge::DocumentExtractor;
use crate::store::assistants::AssistantRow;
use crate::store::workspace_config::{self, ConfigRow, Section};
use crate::store::{Conn, Db, StoreError, workspaces};
use crate::writer::decide_inline;
use command::ApplyCommand;

/// How often an apply is tried where the store's refusal may pass.
const MAX_ATTEMPTS: usize = 3;

/// The dependencies of `apply`.
#[derive(Clone, Copy)]
pub struct ApplyContext<'a> {
    pub db: &'a Db,
    pub clock: &'a dyn Clock,
    pub ids: &'a IdGenerator,
    /// Needed once the file has a secret, or a webhook endpoint.
    pub seal: Option<&'a SealKey>,
    /// The client for MCP servers; it allows `allow_hosts`, too.
    pub outbound: &'a GuardedClient,
    /// Private hosts that tools of every workspace may reach.
    pub allow_hosts: &'a AllowHosts,
    /// Whether the configuration has a model connection of this name.
    pub has_connection: &'a (dyn Fn(&str) -> bool + Sync),
    /// Extracts the text of the file's documents.
    pub document_extractor: &'a DocumentExtractor,
    /// The base of relative paths in the file; without it, paths are refused.
    pub folder: Option<&'a Path>,
    /// Gives the secret that `{ env = "NAME" }` names.
    pub secret: &'a (dyn Fn(&str) -> Option<SecretString> + Sync),
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
    /// Everything is decided and written, and then rolled back.
    DryRun,
}

/// The outcome of an apply, or of a dry run.
#[derive(Clone, Debug)]
pub struct ApplyResult {
    pub workspace: WorkspaceId,
    pub slug: String,
    /// Empty: the store matched the file already.
    pub changes: Vec<Change>,
    /// Settings that were applied but do not work with this process's configuration; the server's may differ.
    pub warnings: Vec<String>,
    /// Secrets generated for webhook endpoints for which the file names none.
    pub secrets: Vec<GeneratedSecret>,
}

/// A signing secret that was made: to be shown now, and never again.
#[derive(Clone, Debug)]
pub struct GeneratedSecret {
    /// The endpoint's slug.
    pub endpoint: String,
    /// `whsec_…`.
    pub secret: SecretString,
}

/// Makes the store match the file's text. An error has changed nothing, but for
/// [`ApplyError::UncertainCommit`], after which the same file can be applied again.
pub async fn apply(context: &ApplyContext<'_>, text: &str, mode: Mode) -> Result<ApplyResult, ApplyError> {
    let prepared = PreparedFile::read(context, text).await?;
    for _ in 1..MAX_ATTEMPTS {
        match try_apply(context, &prepared, mode).await {
            Err(ApplyError::Store(error)) if is_retryable(&error) => {}
            // Another apply may have made this very workspace after it was looked for here: then what
            // seems to be another's is its own.
            Err(ApplyError::Refused(_)) => {}
            outcome => return outcome,
        }
    }
    try_apply(context, &prepared, mode).await
}

/// A deadlock, or another apply that made the same row first: that one is then read.
fn is_retryable(error: &StoreError) -> bool {
    error.is_transient() || matches!(error, StoreError::Data(_))
}

async fn try_apply(
    context: &ApplyContext<'_>,
    prepared: &PreparedFile,
    mode: Mode,
) -> Result<ApplyResult, ApplyError> {
    let mut tx = context.db.begin().await?;
    let applied = apply_in_transaction(context, prepared, tx.conn()).await?;
    if mode == Mode::Apply && !applied.changes.is_empty() {
        tx.commit().await.map_err(ApplyError::UncertainCommit)?;
    }
    Ok(applied)
}

/// The same within a transaction, which the caller commits.
pub(super) async fn apply_in_transaction(
    context: &ApplyContext<'_>,
    prepared: &PreparedFile,
    mut conn: Conn<'_>,
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
        changes: Vec::new(),
        secrets: Vec::new(),
        warnings: prepared.warnings.clone(),
    };

    let ids = applier.assistant_ids(conn.reborrow(), &current).await?;
    applier.put_workspace(conn.reborrow(), &current, &ids).await?;
    let calendars = applier.put_calendars(conn.reborrow(), &current).await?;
    let bases = applier.put_knowledge_bases(conn.reborrow(), &current).await?;
    let tools = applier.put_tools(conn.reborrow(), &current, &calendars, &bases).await?;
    let compiled = applier.put_assistants(conn.reborrow(), &current, &ids, &tools).await?;
    let command = ApplyCommand {
        workspace,
        credit: applier.opening_credit(&current),
        endpoints: applier.put_endpoints(&current)?,
        conversations: applier.put_conversations(conn.reborrow(), &current, &ids, &compiled).await?,
    };
    decide_inline(conn, context.clock, context.ids, &command).await?.map_err(ApplyError::Decision)?;
    Ok(ApplyResult {
        workspace,
        slug: prepared.file.workspace.slug.clone(),
        changes: applier.changes,
        warnings: applier.warnings,
        secrets: applier.secrets,
    })
}

/// The stored workspace, read under its locks.
struct CurrentState {
    /// None: the workspace does not exist yet.
    workspace: Option<Workspace>,
    conversations: HashMap<WidgetUuid, Conversation>,
    calendars: Vec<ConfigRow>,
    /// Those that hold a slug.
    knowledge_bases: Vec<KnowledgeBase>,
    tools: Vec<ConfigRow>,
    assistants: Vec<AssistantRow>,
    /// Those that a file made.
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
            // Again, for another apply may have changed it before the lock was got.
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

/// One apply under way.
struct Applier<'a> {
    context: &'a ApplyContext<'a>,
    prepared: &'a PreparedFile,
    workspace: WorkspaceId,
    now: Micros,
    changes: Vec<Change>,
    secrets: Vec<GeneratedSecret>,
    warnings: Vec<String>,
}

impl Applier<'_> {
    fn record_change(&mut self, section: &'static str, name: impl fmt::Display, action: Action) {
        self.changes.push(Change { section, name: name.to_string(), action });
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
        self.record_change(changes::section_name(section), row.slug, action);
        Ok(())
    }

    /// Archives what a file made and this file does not have.
    async fn archive_missing(
        &mut self,
        mut conn: Conn<'_>,
        section: Section,
        rows: &[ConfigRow],
        has: impl Fn(&str) -> bool,
    ) -> Result<(), ApplyError> {
        for row in rows.iter().filter(|row| row.from_file && !row.archived && !has(&row.slug)) {
            workspace_config::archive(conn.reborrow(), section, self.workspace, row.id, self.now).await?;
            self.record_change(changes::section_name(section), &row.slug, Action::Archived);
        }
        Ok(())
    }
}

/// A row that the API made is not the file's to change.
fn reject_api_owned(section: &str, slug: &str, from_file: bool) -> Result<(), ApplyError> {
    if from_file {
        return Ok(());
    }
    Err(ApplyError::Refused(format!("{section} \"{slug}\" was made through the API; choose another slug")))
}
