//! Encrypts all stored secrets with the current key, so that earlier keys can be removed. Each row changes in a transaction of its own,
//! under the lock of its workspace and only if it is still as it was read, so this can be killed, repeated and run twice at once, beside
//! servers. Servers whose memory has texts of an earlier key open them as long as they have that key.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::convert::Infallible;
use std::ops::AddAssign;

use serde_json::{Value, json};

use super::audit_log;
use crate::domain::assistant::AssistantVersion;
use crate::domain::audit::{Actor, AuditAction, AuditEntry, AuditObject, ObjectKind};
use crate::domain::calendar::CalendarSettings;
use crate::domain::clock::Clock;
use crate::domain::ids::{CalendarId, EndpointId, IdGenerator, IdentitySecretId, WorkspaceId};
use crate::domain::seal::{SealKeys, SealedSecret, SecretContext};
use crate::domain::tool::{Tool, ToolConfig};
use crate::store::sealed_secrets::{self, RowKey, SealedColumn, SealedRow};
use crate::store::{Conn, Db, StoreError, Tenant, seal_keys, stored_json, workspaces};

/// Another process may encrypt with an earlier key meanwhile, so the rows are read again until nothing is left to do.
const MAX_PASSES: usize = 5;

/// The result.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reencrypted {
    /// Values that were encrypted with the current key. A secret of a tool counts once for each version of an assistant that has it.
    pub values: usize,
    /// Values that stay as they are, because they cannot be decrypted, by the reason.
    pub unreadable: BTreeMap<String, usize>,
    /// Rows that cannot be parsed and have secrets of earlier keys, perhaps because a newer version has stored them.
    pub unparsable_rows: usize,
    /// Whether nothing was left to do at the end, so that a process without the earlier keys can start.
    pub is_complete: bool,
}

/// Encrypts all secrets with the current key, and then removes the records of the earlier keys. What it did is one entry of the audit log.
pub async fn reencrypt(
    db: &Db,
    keys: &SealKeys,
    clock: &dyn Clock,
    ids: &IdGenerator,
) -> Result<Reencrypted, StoreError> {
    let mut result = Reencrypted::default();
    for _ in 0..MAX_PASSES {
        let mut pass = Counts::default();
        for column in SealedColumn::ALL {
            pass += reencrypt_column(db, keys, column).await?;
        }
        result.values += pass.values;
        result.unreadable = pass.unreadable;
        result.unparsable_rows = pass.unparsable_rows;
        if pass.values == 0 && pass.conflicts == 0 {
            result.is_complete = pass.unparsable_rows == 0;
            break;
        }
    }
    let key = keys.current_id();
    let actor = Actor::command("rejoinder reencrypt");
    let entry = AuditEntry {
        workspace: None,
        actor: &actor,
        action: AuditAction::Rotated,
        object: AuditObject::new(ObjectKind::SecretKey, key.as_str(), None),
        before: Value::Null,
        after: json!({ "values": result.values, "is_complete": result.is_complete }),
    };
    let finish = async |mut conn: Conn<'_>| {
        audit_log::record(conn.reborrow(), clock, ids, &entry).await?;
        if result.is_complete {
            seal_keys::delete_others(conn, key).await?;
        }
        Ok(())
    };
    db.write(Tenant::Process, finish).await?;
    Ok(result)
}

/// What happened to the values of some rows.
#[derive(Debug, Default)]
struct Counts {
    values: usize,
    unreadable: BTreeMap<String, usize>,
    unparsable_rows: usize,
    /// Rows that others changed meanwhile.
    conflicts: usize,
}

impl AddAssign for Counts {
    fn add_assign(&mut self, other: Self) {
        self.values += other.values;
        self.unparsable_rows += other.unparsable_rows;
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
    let Some(row) = found else { return Ok(Counts::default()) };
    let (workspace, text) = (key.workspace_id, RefCell::new(row.text.clone()));
    let resealer = Resealer { keys, workspace, text, counts: RefCell::default() };
    if let Err(error) = resealer.reseal_row(column, key, &row) {
        let error = &error as &dyn std::error::Error;
        tracing::error!(workspace.id = %workspace, object.id = %key.id, error, "a row with secrets cannot be parsed");
        let unparsable_rows = usize::from(has_earlier_key(keys, &row.text));
        return Ok(Counts { unparsable_rows, ..Counts::default() });
    }
    let text = resealer.text.into_inner();
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

/// Whether some sealed secrets of a JSON text do not name the current key.
fn has_earlier_key(keys: &SealKeys, text: &str) -> bool {
    text.matches(r#""sealed":""#).count() > text.matches(keys.current_id().as_str()).count()
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
    /// The text of the row, in which sealed secrets are replaced. The rest stays as it is, also what only a newer version knows.
    text: RefCell<String>,
    counts: RefCell<Counts>,
}

impl Resealer<'_> {
    fn reseal_row(
        &self,
        column: SealedColumn,
        key: RowKey,
        row: &SealedRow,
    ) -> Result<(), serde_json::Error> {
        match column {
            SealedColumn::Calendars => {
                self.reseal_calendar(CalendarId(key.id), &stored_json::from_str(&row.text)?);
            }
            SealedColumn::Tools => {
                let tool: Tool = stored_json::from_str(&row.text)?;
                self.reseal_tool(&row.slug, &tool.config, |_| ());
            }
            SealedColumn::AssistantVersions => {
                let version: AssistantVersion = stored_json::from_str(&row.text)?;
                for tool in &version.tools {
                    self.reseal_tool(&tool.slug, &tool.kind, |calendar| {
                        self.reseal_calendar(calendar.id, &calendar.settings);
                    });
                }
            }
            SealedColumn::EndpointSecrets | SealedColumn::PreviousEndpointSecrets => {
                let context = SecretContext::of_endpoint(self.workspace, EndpointId(key.id));
                self.reseal(&context, &SealedSecret::from_stored(row.text.clone()));
            }
            SealedColumn::IdentitySecrets => {
                let context = SecretContext::of_identity(self.workspace, IdentitySecretId(key.id));
                self.reseal(&context, &SealedSecret::from_stored(row.text.clone()));
            }
        }
        Ok(())
    }

    fn reseal_calendar(&self, id: CalendarId, settings: &CalendarSettings) {
        let password = settings.caldav.as_ref().and_then(|caldav| caldav.password.as_ref());
        if let Some(password) = password {
            self.reseal(&SecretContext::of_calendar(self.workspace, id), password);
        }
    }

    fn reseal_tool<C, K>(&self, slug: &str, config: &ToolConfig<C, K>, reseal_calendar: impl Fn(&C)) {
        let Ok(_): Result<ToolConfig<(), (), ()>, Infallible> = config.try_map(
            |calendar| {
                reseal_calendar(calendar);
                Ok(())
            },
            |_| Ok(()),
            |field, sealed| {
                self.reseal(&SecretContext::of_tool(self.workspace, slug, field), sealed);
                Ok(())
            },
        );
    }

    /// A secret that cannot be opened stays.
    fn reseal(&self, context: &SecretContext<'_>, sealed: &SealedSecret) {
        let mut counts = self.counts.borrow_mut();
        match self.keys.reseal(context, sealed) {
            Ok(None) => {}
            Ok(Some(resealed)) => {
                counts.values += 1;
                let text = self.text.borrow().replace(sealed.as_str(), resealed.as_str());
                *self.text.borrow_mut() = text;
            }
            Err(error) => *counts.unreadable.entry(error.to_string()).or_default() += 1,
        }
    }
}
