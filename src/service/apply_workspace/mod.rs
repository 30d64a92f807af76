//! `rejoinder apply`: makes the store match a workspace file, in one transaction. The
//! file, its documents and its secrets are read before anything is locked; then the locks are taken
//! in the writer's order: the workspace's state, its conversations, its calendars, and
//! then its knowledge bases.

mod assistants;
mod calendars;
mod changes;
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
pub(super) use prepare::Prepared;

use crate::domain::batch::Item;
use crate::domain::clock::{Clock, Micros};
use crate::domain::conversation::Conversation;
use crate::domain::ids::{Ids, WidgetUuid, WorkspaceId};
use crate::domain::knowledge::Base;
use crate::domain::seal::SealKey;
use crate::domain::webhook_endpoint::Endpoint;
use crate::domain::workspace::Workspace;
use crate::outbound::{AllowHosts, GuardedClient};
use crate::service::knowledge::Readers;
use crate::store::assistants::AssistantRow;
use crate::store::configured::{self, Configured, Section};
use crate::store::writer::decide_within;
use crate::store::{Conn, Db, StoreError, workspaces};

/// How often an apply is tried where the store's refusal may pass.
const TRIES: usize = 3;

/// What `apply` works with.
#[derive(Clone, Copy)]
pub struct Site<'a> {
    pub db: &'a Db,
    pub clock: &'a dyn Clock,
    pub ids: &'a Ids,
    /// Needed once the file has a secret, or a webhook endpoint.
    pub seal: Option<&'a SealKey>,
    /// What MCP servers are asked through; it lets these hosts through, too.
    pub outbound: &'a GuardedClient,
    /// Private hosts that tools of every workspace may reach.
    pub allow_hosts: &'a AllowHosts,
    /// Whether the configuration names a connection to a model so.
    pub has_connection: &'a (dyn Fn(&str) -> bool + Sync),
    /// What reads the file's documents.
    pub readers: &'a Readers,
    /// Where the paths in the file begin; none: it may have none.
    pub folder: Option<&'a Path>,
    /// Gives the secret that `{ env = "NAME" }` names.
    pub secret: &'a (dyn Fn(&str) -> Option<SecretString> + Sync),
}

impl fmt::Debug for Site<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Site").finish_non_exhaustive()
    }
}

/// Whether what was decided is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    Apply,
    /// Everything is decided and written, and then rolled back.
    DryRun,
}

/// What an apply did, or would do.
#[derive(Clone, Debug)]
pub struct Applied {
    pub workspace: WorkspaceId,
    pub slug: String,
    /// Empty: the store matched the file already.
    pub changes: Vec<Change>,
    /// What was applied and will not work in this process's configuration; the server may have another.
    pub warnings: Vec<String>,
    /// Of webhook endpoints for which the file names none.
    pub secrets: Vec<MadeSecret>,
}

/// A signing secret that was made: to be shown now, and never again.
#[derive(Clone, Debug)]
pub struct MadeSecret {
    /// The endpoint's slug.
    pub endpoint: String,
    /// `whsec_…`.
    pub secret: SecretString,
}

/// Makes the store match the file's text. An error has changed nothing, but for
/// [`ApplyError::Unknown`], after which the same file can be applied again.
pub async fn apply(site: &Site<'_>, text: &str, mode: Mode) -> Result<Applied, ApplyError> {
    let prepared = Prepared::read(site, text).await?;
    for _ in 1..TRIES {
        match try_apply(site, &prepared, mode).await {
            Err(ApplyError::Store(error)) if may_pass(&error) => {}
            // Another apply may have made this very workspace after it was looked for here: then what
            // seems to be another's is its own.
            Err(ApplyError::Refused(_)) => {}
            outcome => return outcome,
        }
    }
    try_apply(site, &prepared, mode).await
}

/// A deadlock, or another apply that made the same row first: that one is then read.
fn may_pass(error: &StoreError) -> bool {
    error.is_away() || matches!(error, StoreError::Data(_))
}

async fn try_apply(site: &Site<'_>, prepared: &Prepared, mode: Mode) -> Result<Applied, ApplyError> {
    let mut tx = site.db.begin().await?;
    let applied = apply_within(site, prepared, tx.conn()).await?;
    if mode == Mode::Apply && !applied.changes.is_empty() {
        tx.commit().await.map_err(ApplyError::Unknown)?;
    }
    Ok(applied)
}

/// The same within a transaction, which the caller commits.
pub(super) async fn apply_within(
    site: &Site<'_>,
    prepared: &Prepared,
    mut conn: Conn<'_>,
) -> Result<Applied, ApplyError> {
    let before = Before::lock_and_read(conn.reborrow(), prepared).await?;
    let workspace = match &before.workspace {
        Some(workspace) => workspace.id,
        None => WorkspaceId(site.ids.ordered(site.clock)),
    };
    let mut run = Run {
        site,
        prepared,
        workspace,
        now: site.clock.now(),
        changes: Vec::new(),
        secrets: Vec::new(),
        warnings: prepared.warnings.clone(),
    };

    let ids = run.assistant_ids(conn.reborrow(), &before).await?;
    run.put_workspace(conn.reborrow(), &before, &ids).await?;
    let calendars = run.put_calendars(conn.reborrow(), &before).await?;
    let bases = run.put_knowledge_bases(conn.reborrow(), &before).await?;
    let tools = run.put_tools(conn.reborrow(), &before, &calendars, &bases).await?;
    let compiled = run.put_assistants(conn.reborrow(), &before, &ids, &tools).await?;
    let mut items = run.opening_credit(&before);
    items.extend(run.put_endpoints(&before)?);
    items.extend(run.put_conversations(conn.reborrow(), &before, &ids, &compiled).await?);
    run.decide(conn, &items).await?;
    Ok(Applied {
        workspace,
        slug: prepared.file.slug.clone(),
        changes: run.changes,
        warnings: run.warnings,
        secrets: run.secrets,
    })
}

/// What the store has of the workspace, read under its locks.
struct Before {
    /// None: it is to be made.
    workspace: Option<Workspace>,
    conversations: HashMap<WidgetUuid, Conversation>,
    calendars: Vec<Configured>,
    /// Those that hold a slug.
    knowledge_bases: Vec<Base>,
    tools: Vec<Configured>,
    assistants: Vec<AssistantRow>,
    /// Those that a file made.
    endpoints: Vec<Endpoint>,
}

impl Before {
    async fn lock_and_read(mut conn: Conn<'_>, prepared: &Prepared) -> Result<Self, ApplyError> {
        let slug = &prepared.file.slug;
        let found = workspaces::find_by_slug(conn.reborrow(), slug).await?;
        let Some(found) = found else {
            conversations::refuse_foreign(conn, prepared, None).await?;
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
        let knowledge_bases = crate::store::knowledge_bases::lock_all(conn.reborrow(), id).await?;
        Ok(Self {
            // Again, for another apply may have changed it before the lock was got.
            workspace: workspaces::find_by_slug(conn.reborrow(), slug).await?,
            conversations,
            calendars,
            knowledge_bases,
            tools: configured::list(conn.reborrow(), Section::Tools, id).await?,
            assistants: crate::store::assistants::list_all(conn.reborrow(), id).await?,
            endpoints: webhook_endpoints::of_file(conn, id).await?,
        })
    }
}

/// One apply under way.
struct Run<'a> {
    site: &'a Site<'a>,
    prepared: &'a Prepared,
    workspace: WorkspaceId,
    now: Micros,
    changes: Vec<Change>,
    secrets: Vec<MadeSecret>,
    warnings: Vec<String>,
}

impl Run<'_> {
    fn changed(&mut self, section: &'static str, name: impl fmt::Display, action: Action) {
        self.changes.push(Change { section, name: name.to_string(), action });
    }

    /// Writes a calendar or a tool, unless it stands there as the file has it.
    async fn put_configured(
        &mut self,
        conn: Conn<'_>,
        section: Section,
        row: Configured,
        old: Option<&Configured>,
    ) -> Result<(), ApplyError> {
        let action = match old {
            None => Action::Made,
            Some(old) if old.archived => Action::Restored,
            Some(old) if old.text != row.text => Action::Changed(changes::differing(&old.text, &row.text)),
            Some(_) => return Ok(()),
        };
        configured::put(conn, section, self.workspace, &row, self.now).await?;
        self.changed(changes::name_of(section), row.slug, action);
        Ok(())
    }

    /// Archives what a file made and this file does not have.
    async fn archive_rest(
        &mut self,
        mut conn: Conn<'_>,
        section: Section,
        rows: &[Configured],
        has: impl Fn(&str) -> bool,
    ) -> Result<(), ApplyError> {
        for row in rows.iter().filter(|row| row.from_file && !row.archived && !has(&row.slug)) {
            configured::archive(conn.reborrow(), section, self.workspace, row.id, self.now).await?;
            self.changed(changes::name_of(section), &row.slug, Action::Archived);
        }
        Ok(())
    }

    async fn decide(&self, conn: Conn<'_>, items: &[Item]) -> Result<(), ApplyError> {
        if items.is_empty() {
            return Ok(());
        }
        let outcomes = decide_within(conn, self.site.clock, self.site.ids, items).await?;
        for outcome in outcomes {
            outcome.map_err(ApplyError::Decision)?;
        }
        Ok(())
    }
}

/// A row that the API made is not the file's to change.
fn refuse_made_by_api(section: &str, slug: &str, from_file: bool) -> Result<(), ApplyError> {
    if from_file {
        return Ok(());
    }
    Err(ApplyError::Refused(format!("{section} \"{slug}\" was made through the API; choose another slug")))
}
