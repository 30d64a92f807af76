//! The demo workspace of an empty database, its key, and the startup banner.
//!
//! The key is written to its file before the transaction that creates the workspace stores its hash. After a crash at
//! any point, the next start completes the setup.

use std::fmt::Write;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use secrecy::ExposeSecret;
use uuid::Uuid;

use super::apply_workspace::{ApplyContext, ApplyError, PreparedFile, apply_in_transaction};
use super::keys::{build_key, insert};
use super::private_file;
use crate::config::{Config, ModelChoice};
use crate::domain::api_key::KeySecret;
use crate::domain::audit::Actor;
use crate::domain::ids::WidgetUuid;
use crate::store::{Conn, Db, StoreError, Tenant, conversations, keys, workspaces};

/// The workspace file of the demo.
pub const DEMO_FILE: &str = include_str!("../../config/demo/workspace.toml");

/// The id of the demo's assistant.
pub const DEMO_ASSISTANT: &str = "550e8400-e29b-41d4-a716-446655440000";

/// The widget UUID of the demo conversation, as in the examples of the widget contract.
pub const DEMO_CONVERSATION: &str = "7c9e6679-7425-40de-944b-e07fc1f90ae7";

/// The widget UUIDs of the demo's conversations. They are published with this program.
const CONVERSATIONS: [Uuid; 2] = [
    Uuid::from_u128(0x7c9e_6679_7425_40de_944b_e07f_c1f9_0ae7),
    Uuid::from_u128(0x0b5f_4c1e_9d3a_4e57_8f21_6a7c_2d9e_1b40),
];

const KEY_FILE: &str = "demo.key";

const NO_WORKSPACE: &str = "
There is no workspace yet. Describe one in a file (README, \"Your own workspace\"). Then create it, its balance and a
key for it, in this folder and with the settings of this server:
  rejoinder apply workspace.toml
  rejoinder credit SLUG 25.00
  rejoinder keys create --workspace SLUG --name backend

Or restart with REJOINDER_DEMO=true for a demo workspace.
";

/// The demo workspace.
#[derive(Clone, Debug)]
pub struct Demo {
    /// The path of its key file.
    pub key_file: PathBuf,
}

/// The error of creating the demo.
#[derive(Debug, thiserror::Error)]
pub enum DemoError {
    #[error("the demo key file {} cannot be read or created", path.display())]
    File { path: PathBuf, source: io::Error },
    #[error("{} does not contain a key; remove it, or set REJOINDER_DEMO=false", .0.display())]
    Malformed(PathBuf),
    #[error("the demo workspace could not be created")]
    Apply(#[from] ApplyError),
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Creates the demo if the database is empty and the configuration enables it. Returns `None` if the database has no
/// demo, or one whose key is not in this data folder.
pub async fn prepare(context: &ApplyContext<'_>, config: &Config) -> Result<Option<Demo>, DemoError> {
    let key_file = config.data_dir.join(KEY_FILE);
    let is_empty = context.db.read(Tenant::Process, async |conn| workspaces::count(conn).await).await? == 0;
    if is_empty && config.is_demo_enabled() {
        let key = read_or_create_key(context, &key_file)?;
        match create(context, &key).await {
            Ok(true) => return Ok(Some(Demo { key_file })),
            // Another process has created the demo or another workspace meanwhile.
            Ok(false) | Err(DemoError::Store(StoreError::Data(_))) => {}
            Err(error) => return Err(error),
        }
    }
    find(context, key_file).await
}

async fn find(context: &ApplyContext<'_>, key_file: PathBuf) -> Result<Option<Demo>, DemoError> {
    // An unreadable key file must not prevent the start of a server that has other workspaces.
    let Ok(Some(text)) = private_file::read(&key_file) else { return Ok(None) };
    let Some(key) = KeySecret::parse(text.expose_secret()) else { return Ok(None) };
    let found = context.db.read(Tenant::Process, async |conn| keys::find(conn, key.hash()).await).await?;
    let is_active = found.is_some_and(|found| found.is_valid(context.clock.now()));
    Ok(is_active.then_some(Demo { key_file }))
}

fn read_or_create_key(context: &ApplyContext<'_>, path: &Path) -> Result<KeySecret, DemoError> {
    let error = |source| DemoError::File { path: path.to_owned(), source };
    let mut text = private_file::read(path).map_err(error)?;
    if text.is_none() {
        let key = KeySecret::new(context.ids.bytes());
        let nonce = u64::from_ne_bytes(context.ids.bytes());
        private_file::write_new(path, key.expose(), nonce).map_err(error)?;
        text = private_file::read(path).map_err(error)?;
    }
    let key = text.and_then(|text| KeySecret::parse(text.expose_secret()));
    key.ok_or_else(|| DemoError::Malformed(path.to_owned()))
}

/// Returns false if the database is no longer empty.
async fn create(context: &ApplyContext<'_>, key: &KeySecret) -> Result<bool, DemoError> {
    let prepared = PreparedFile::read(context, DEMO_FILE).await?;
    let mut tx = context.db.begin().await?;
    if workspaces::count(tx.conn()).await? > 0 {
        return Ok(false);
    }
    let applied = match apply_in_transaction(context, &prepared, tx.conn(), &Arc::new(Actor::server())).await
    {
        Ok(applied) => applied,
        Err(ApplyError::Store(error)) => return Err(error.into()),
        Err(error) => return Err(error.into()),
    };
    let row = build_key(context.clock, context.ids, applied.workspace, "demo", key);
    // A new workspace has room for it.
    insert(tx.conn(), context.clock, context.ids, &Actor::server(), &row, key.hash()).await?;
    tx.commit().await?;
    Ok(true)
}

/// Whether anyone can talk to the demo: one of its conversations exists and has not ended.
pub async fn is_open(db: &Db) -> Result<bool, StoreError> {
    for id in CONVERSATIONS {
        let find = async |conn: Conn<'_>| conversations::find_by_link(conn, WidgetUuid(id)).await;
        let found = db.read(Tenant::Process, find).await?;
        if found.is_some_and(|found| found.conversation.ended_at.is_none()) {
            return Ok(true);
        }
    }
    Ok(false)
}

/// What there is to use at the start, for the banner.
#[derive(Clone, Copy, Debug)]
pub enum Contents<'a> {
    Demo(&'a Demo),
    /// The database has no workspace.
    NoWorkspace,
    Workspaces,
}

/// The contents of the database.
pub async fn contents<'a>(db: &Db, demo: Option<&'a Demo>) -> Result<Contents<'a>, StoreError> {
    if let Some(demo) = demo {
        return Ok(Contents::Demo(demo));
    }
    let count = db.read(Tenant::Process, async |conn| workspaces::count(conn).await).await?;
    Ok(if count == 0 { Contents::NoWorkspace } else { Contents::Workspaces })
}

/// The startup banner: the address and, if there is a demo, its page, the API reference, the path of its key file, the line
/// that puts its chat on a page, and a `curl` command for each API. Without any workspace, it names the commands that create one and its key.
#[must_use]
pub fn banner(address: &str, contents: Contents<'_>, model: &ModelChoice) -> String {
    let address = address.trim_end_matches('/');
    let mut text = format!("Rejoinder {} listens on {address}\n", env!("CARGO_PKG_VERSION"));
    if let ModelChoice::Offline { is_explicit } = model {
        text.push_str(if *is_explicit {
            "\nThe built-in demonstration answers, as set by model.kind (REJOINDER_MODEL__KIND).\n"
        } else {
            "\nNo model is configured: the built-in demonstration answers. For a real one set OPENAI_API_KEY,\n\
             or OPENAI_BASE_URL and OPENAI_MODEL.\n"
        });
    }
    match contents {
        Contents::Demo(demo) => push_demo(&mut text, address, demo),
        Contents::NoWorkspace => text.push_str(NO_WORKSPACE),
        Contents::Workspaces => {}
    }
    text
}

fn push_demo(text: &mut String, address: &str, demo: &Demo) {
    let file = shell_quote(&demo.key_file.display().to_string());
    // Without the key itself, because standard output may be a journal. Writing to a `String` cannot fail.
    let _ = write!(
        text,
        r#"
Demo page   {address}/
API docs    {address}/docs
Demo key    in {file}

The chat on a page of yours ({address}/widget shows its options):
  <script async src="{address}/widget.js" data-assistant="{DEMO_ASSISTANT}"></script>

Widget API:
  curl -X POST "{address}/api/conversations/{DEMO_CONVERSATION}/messages" \
    -H "Content-Type: application/json" \
    -d '{{"message": "I would like to schedule a demo for next week"}}'

Platform API:
  curl -X POST "{address}/v1/messages" \
    -H "Authorization: Bearer $(cat {file})" \
    -H "Content-Type: application/json" \
    -d '{{"sender_id": "usr_82hd92", "sender_type": "user", "text": "Hello from curl!"}}'
"#
    );
}

/// The path quoted for a shell. It is also valid between `"$(` and `)"`.
fn shell_quote(path: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '/' | '.' | '_' | '-');
    if path.chars().all(is_plain) { path.to_owned() } else { format!("'{}'", path.replace('\'', r"'\''")) }
}

#[cfg(test)]
mod tests;
