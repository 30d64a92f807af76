//! The workspaces of a test's server and their keys.

use std::time::Duration;

use rejoinder::domain::account::Scope;
use rejoinder::domain::api_key::ApiKey;
use rejoinder::domain::clock::Clock;
use rejoinder::domain::ids::IdGenerator;
use rejoinder::domain::seal::{SealKey, SealKeys};
use rejoinder::outbound::{AllowHosts, GuardedClient};
use rejoinder::service::apply_workspace::{self, ApplyContext, ApplyError, ApplyResult, Mode};
use rejoinder::service::keys::{self, CreateKey};
use rejoinder::store::Db;
use secrecy::SecretString;

use super::document_extractor;
use super::fake_tool::FakeTool;
use super::identity;
use super::radicale::PASSWORD;

/// The key that seals secrets.
pub const SEAL_KEY: [u8; 32] = [7; 32];

/// The default assistant.
pub const ASSISTANT: &str = "550e8400-e29b-41d4-a716-446655440000";
/// An assistant that accepts only the origin `https://shop.example`.
pub const RESTRICTED: &str = "550e8400-e29b-41d4-a716-4466554400aa";
/// The widget conversation of the widget contract.
pub const WIDGET: &str = "7c9e6679-7425-40de-944b-e07fc1f90ae7";
/// A test conversation, whose turns are free.
pub const TEST: &str = "0b5f4c1e-9d3a-4e57-8f21-6a7c2d9e1b40";

/// The text of `workspace.toml`, whose webhook tools call this fake.
pub fn workspace(tool: &FakeTool) -> String {
    include_str!("workspace.toml")
        .replace("@ASSISTANT@", ASSISTANT)
        .replace("@RESTRICTED@", RESTRICTED)
        .replace("@WIDGET@", WIDGET)
        .replace("@TEST@", TEST)
        .replace("@TOOL@", &tool.url(""))
}

/// A second workspace, which does not create conversations automatically.
const OTHER: &str = r#"
[workspace]
slug = "other"
name = "Other Ltd"
balance = "1.00"
auto_create_conversations = false
"#;

/// A workspace with one assistant, for a server process that a test starts.
pub const MINE: &str = r#"
    [workspace]
    slug = "mine"
    name = "Mine"
    balance = "1.00"
    pricing = { api = "0.01" }
    default_assistant = "desk"
    [[assistants]]
    slug = "desk"
    name = "Desk"
    system_prompt = "You help."
"#;

/// The bearer keys of the two workspaces.
#[derive(Clone, Debug)]
pub struct Keys {
    /// Of the workspace, with all scopes.
    pub full: String,
    /// Of the workspace, with the scope `read` alone.
    pub read_only: String,
    /// Of the workspace, with the scope `export` alone.
    pub export: String,
    /// Of the workspace, expired.
    pub expired: String,
    pub revoked: String,
    /// Of the other workspace, with all scopes.
    pub other_workspace: String,
}

/// A secret of the environment in which the workspace file is applied. The canary tests search for it.
pub const TOKEN: &str = "Bearer canary-t0ken";
/// A secret that has to be encoded in a URL.
pub const QUERY_KEY: &str = "canary/key 1";
/// A signing secret.
pub const SIGNING: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

/// Reads a secret of the environment.
pub fn secret(name: &str) -> Option<SecretString> {
    let known = [
        ("TOKEN", TOKEN),
        ("QUERY_KEY", QUERY_KEY),
        ("SIGNING", SIGNING),
        ("CALDAV_PASSWORD", PASSWORD),
        ("IDENTITY", identity::SECRET),
        ("NEXT_IDENTITY", identity::NEXT_SECRET),
    ];
    known.into_iter().find(|(known, _)| *known == name).map(|(_, secret)| secret.into())
}

/// Applies a workspace file.
pub async fn try_apply(
    db: &Db,
    clock: &dyn Clock,
    tool: &FakeTool,
    file: &str,
) -> Result<ApplyResult, ApplyError> {
    let ids = IdGenerator::random();
    let allow_hosts = AllowHosts::parse([tool.host()]).expect("a host and its port");
    let outbound = GuardedClient::new(allow_hosts.clone()).expect("the client can be set up");
    let context = ApplyContext {
        progress: &|_| {},
        db,
        clock,
        ids: &ids,
        seal: Some(&SealKeys::from(SealKey::new(SEAL_KEY))),
        outbound: &outbound,
        allow_hosts: &allow_hosts,
        document_extractor: &document_extractor::child_process(),
        folder: None,
        has_connection: &|_| true,
        secret: &|name| Ok(secret(name)),
    };
    apply_workspace::apply(&context, file, Mode::Apply).await
}

/// Applies a workspace file and the second workspace's, and creates the keys.
pub async fn apply(db: &Db, clock: &dyn Clock, tool: &FakeTool, file: &str) -> Keys {
    let ids = IdGenerator::random();
    for text in [file, OTHER] {
        try_apply(db, clock, tool, text).await.expect("the workspace file is valid");
    }
    let make = async |workspace: &str, scopes: &[Scope], expires_in: Option<Duration>| {
        let request = CreateKey {
            workspace: workspace.to_owned(),
            name: "tests".to_owned(),
            scopes: scopes.to_vec(),
            expires_in,
        };
        let (secret, key) = keys::create(db, clock, &ids, request).await.expect("a key is created");
        (secret.expose().to_owned(), key)
    };
    let (revoked, ApiKey { id, .. }) = make("demo", &[], None).await;
    keys::revoke(db, clock, &ids, id).await.expect("the key is revoked");
    Keys {
        full: make("demo", &[], None).await.0,
        read_only: make("demo", &[Scope::Read], None).await.0,
        export: make("demo", &[Scope::Export], None).await.0,
        expired: make("demo", &[], Some(Duration::ZERO)).await.0,
        revoked,
        other_workspace: make("other", &[], None).await.0,
    }
}
