//! Encrypts all stored secrets with the current key, so that earlier keys can be removed. Each row changes in a transaction of its own,
//! under the lock of its workspace and only if it is still as it was read, so this can be killed, repeated and run twice at once, beside
//! servers. Servers whose memory has texts of an earlier key open them as long as they have that key.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::ops::AddAssign;

use crate::domain::assistant::AssistantVersion;
use crate::domain::calendar::{Caldav, CalendarSettings};
use crate::domain::ids::{CalendarId, EndpointId, WorkspaceId};
use crate::domain::seal::{SealKeys, SealedSecret, SecretContext};
use crate::domain::tool::{CompiledCalendar, CompiledTool, Tool};
use crate::store::sealed_secrets::{self, RowKey, SealedColumn, SealedRow};
use crate::store::{Conn, Db, StoreError, Tenant, seal_keys, workspaces};

/// Another process may encrypt with an earlier key meanwhile, so the rows are read again until nothing is left to do.
const MAX_PASSES: usize = 5;

/// The result.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reencrypted {
    /// Values that were encrypted with the current key. A secret of a tool counts once for each version of an assistant that has it.
    pub values: usize,
    /// Values that stay as they are, because they cannot be decrypted, by the reason.
    pub unreadable: BTreeMap<String, usize>,
    /// Whether nothing was left to do at the end, so that a process without the earlier keys can start.
    pub is_complete: bool,
}

/// Encrypts all secrets with the current key, and then removes the records of the earlier keys.
pub async fn reencrypt(db: &Db, keys: &SealKeys) -> Result<Reencrypted, StoreError> {
    let mut result = Reencrypted::default();
    for _ in 0..MAX_PASSES {
        let mut pass = Counts::default();
        for column in SealedColumn::ALL {
            pass += reencrypt_column(db, keys, column).await?;
        }
        result.values += pass.values;
        result.unreadable = pass.unreadable;
        if pass.values == 0 && pass.conflicts == 0 {
            let key = keys.current_id();
            db.write(Tenant::Process, async |conn| seal_keys::delete_others(conn, key).await).await?;
            result.is_complete = true;
            break;
        }
    }
    Ok(result)
}

/// What happened to the values of some rows.
#[derive(Debug, Default)]
struct Counts {
    values: usize,
    unreadable: BTreeMap<String, usize>,
    /// Rows that others changed meanwhile.
    conflicts: usize,
}

impl AddAssign for Counts {
    fn add_assign(&mut self, other: Self) {
        self.values += other.values;
        self.conflicts += other.conflicts;
        for (reason, count) in other.unreadable {
            *self.unreadable.entry(reason).or_default() += count;
        }
    }
}

async fn reencrypt_column(db: &Db, keys: &SealKeys, column: SealedColumn) -> Result<Counts, StoreError> {
    let mut counts = Counts::default();
    let mut last = None;
    loop {
        let rows =
            db.read(Tenant::Process, async |conn| sealed_secrets::list(conn, column, last).await).await?;
        if rows.is_empty() {
            return Ok(counts);
        }
        for row in rows {
            counts += reencrypt_row(db, keys, column, row).await?;
            last = Some(row);
        }
    }
}

async fn reencrypt_row(
    db: &Db,
    keys: &SealKeys,
    column: SealedColumn,
    key: RowKey,
) -> Result<Counts, StoreError> {
    let found = db.read(Tenant::Process, async |conn| sealed_secrets::find(conn, column, key).await).await?;
    let Some(row) = found.filter(|row| !row.text.is_empty()) else { return Ok(Counts::default()) };
    let resealer = Resealer { keys, workspace: key.workspace_id, counts: RefCell::default() };
    let Ok(text) = resealer.reseal_row(column, key, &row) else {
        tracing::error!(workspace.id = %key.workspace_id, object.id = %key.id, "a row with secrets cannot be parsed");
        let unreadable = BTreeMap::from([("its row cannot be parsed".to_owned(), 1)]);
        return Ok(Counts { unreadable, ..Counts::default() });
    };
    let mut counts = resealer.counts.into_inner();
    if counts.values > 0 {
        let is_replaced = db
            .write(Tenant::Process, async |conn| replace(conn, column, key, &row.text, &text).await)
            .await?;
        if !is_replaced {
            counts = Counts { conflicts: 1, ..Counts::default() };
        }
    }
    Ok(counts)
}

/// The lock keeps a writer that has read the old text from writing it back.
async fn replace(
    mut conn: Conn<'_>,
    column: SealedColumn,
    key: RowKey,
    old: &str,
    new: &str,
) -> Result<bool, StoreError> {
    workspaces::lock(conn.reborrow(), &[key.workspace_id].into()).await?;
    sealed_secrets::replace(conn, column, key, old, new).await
}

/// Seals the secrets of one row.
struct Resealer<'a> {
    keys: &'a SealKeys,
    workspace: WorkspaceId,
    counts: RefCell<Counts>,
}

impl Resealer<'_> {
    /// The text of the row with sealed secrets of the current key. A secret that cannot be opened stays.
    fn reseal_row(
        &self,
        column: SealedColumn,
        key: RowKey,
        row: &SealedRow,
    ) -> Result<String, serde_json::Error> {
        match column {
            SealedColumn::Calendars => {
                let settings = self.reseal_calendar(CalendarId(key.id), serde_json::from_str(&row.text)?);
                serde_json::to_string(&settings)
            }
            SealedColumn::Tools => {
                let tool: Tool = serde_json::from_str(&row.text)?;
                let config = tool.config.try_map(
                    |id| Ok::<_, serde_json::Error>(*id),
                    |id| Ok(*id),
                    |field, sealed| {
                        Ok(self.reseal(&SecretContext::of_tool(self.workspace, &row.slug, field), sealed))
                    },
                )?;
                serde_json::to_string(&Tool { config, ..tool })
            }
            SealedColumn::AssistantVersions => {
                let mut version: AssistantVersion = serde_json::from_str(&row.text)?;
                let tools = version.tools.into_iter().map(|tool| self.reseal_compiled(tool));
                version.tools = tools.collect::<Result<_, _>>()?;
                serde_json::to_string(&version)
            }
            SealedColumn::EndpointSecrets | SealedColumn::PreviousEndpointSecrets => {
                let context = SecretContext::of_endpoint(self.workspace, EndpointId(key.id));
                let sealed = SealedSecret::from_stored(row.text.clone());
                Ok(self.reseal(&context, &sealed).as_str().to_owned())
            }
        }
    }

    fn reseal_calendar(&self, id: CalendarId, settings: CalendarSettings) -> CalendarSettings {
        let context = SecretContext::of_calendar(self.workspace, id);
        let reseal = |sealed: &SealedSecret| self.reseal(&context, sealed);
        let caldav = settings.caldav.map(|caldav| {
            let password = caldav.password.as_ref().map(reseal);
            Box::new(Caldav { password, ..*caldav })
        });
        CalendarSettings { caldav, ..settings }
    }

    fn reseal_compiled(&self, tool: CompiledTool) -> Result<CompiledTool, serde_json::Error> {
        let kind = tool.kind.try_map(
            |calendar| {
                let CompiledCalendar { id, settings } = (**calendar).clone();
                let settings = self.reseal_calendar(id, settings);
                Ok::<_, serde_json::Error>(Box::new(CompiledCalendar { id, settings }))
            },
            |id| Ok(*id),
            |field, sealed| {
                Ok(self.reseal(&SecretContext::of_tool(self.workspace, &tool.slug, field), sealed))
            },
        )?;
        Ok(CompiledTool { kind, ..tool })
    }

    fn reseal(&self, context: &SecretContext<'_>, sealed: &SealedSecret) -> SealedSecret {
        let mut counts = self.counts.borrow_mut();
        match self.keys.reseal(context, sealed) {
            Ok(None) => sealed.clone(),
            Ok(Some(resealed)) => {
                counts.values += 1;
                resealed
            }
            Err(error) => {
                *counts.unreadable.entry(error.to_string()).or_default() += 1;
                sealed.clone()
            }
        }
    }
}
