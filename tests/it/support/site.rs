//! The workspaces of a test's server, as an operator's file describes them, and their keys.

use std::time::Duration;

use rejoinder::domain::account::Scope;
use rejoinder::domain::api_key::ApiKey;
use rejoinder::domain::clock::Clock;
use rejoinder::domain::ids::Ids;
use rejoinder::domain::seal::SealKey;
use rejoinder::outbound::AllowHosts;
use rejoinder::service::apply_workspace::{self, Mode, Site};
use rejoinder::service::keys::{self, CreateKey};
use rejoinder::store::Db;

use super::fake_tool::FakeTool;
use super::radicale::PASSWORD;

/// What secrets are sealed with.
pub const SEAL_KEY: [u8; 32] = [7; 32];

/// The assistant that conversations have, unless said otherwise.
pub const ASSISTANT: &str = "550e8400-e29b-41d4-a716-446655440000";
/// One that talks to the pages of `https://shop.example` alone.
pub const GUARDED: &str = "550e8400-e29b-41d4-a716-4466554400aa";
/// The widget conversation of the widget contract.
pub const WIDGET: &str = "7c9e6679-7425-40de-944b-e07fc1f90ae7";
/// A conversation that is free.
pub const TEST: &str = "0b5f4c1e-9d3a-4e57-8f21-6a7c2d9e1b40";

/// The text of `workspace.toml`, whose webhook tools call this fake.
pub fn workspace(tool: &FakeTool) -> String {
    include_str!("workspace.toml")
        .replace("@ASSISTANT@", ASSISTANT)
        .replace("@GUARDED@", GUARDED)
        .replace("@WIDGET@", WIDGET)
        .replace("@TEST@", TEST)
        .replace("@TOOL@", &tool.url(""))
}

/// A second tenant of the same server, which makes no conversations of itself.
const OTHER: &str = r#"
[workspace]
slug = "other"
name = "Other Ltd"
balance = "1.00"
auto_create_conversations = false
"#;

/// The bearer keys of the two workspaces.
#[derive(Clone, Debug)]
pub struct Keys {
    /// Of the workspace, with all scopes.
    pub all: String,
    /// Of the workspace, with the scope `read` alone.
    pub reading: String,
    /// Of the workspace, past its time.
    pub expired: String,
    pub revoked: String,
    /// Of the other workspace, with all scopes.
    pub foreign: String,
}

/// Applies a workspace file and the other tenant's, and makes the keys.
pub async fn apply(db: &Db, clock: &dyn Clock, tool: &FakeTool, file: &str) -> Keys {
    let ids = Ids::random();
    let allow_hosts = AllowHosts::parse([tool.host()]).expect("a host and its port");
    let site = Site {
        db,
        clock,
        ids: &ids,
        seal: Some(&SealKey::new(SEAL_KEY)),
        allow_hosts: &allow_hosts,
        folder: None,
        has_connection: &|_| true,
        secret: &|name| (name == "CALDAV_PASSWORD").then(|| PASSWORD.into()),
    };
    for text in [file, OTHER] {
        apply_workspace::apply(&site, text, Mode::Apply).await.expect("the workspace file is good");
    }
    let make = async |workspace: &str, scopes: &[Scope], expires_in: Option<Duration>| {
        let request = CreateKey {
            workspace: workspace.to_owned(),
            name: "tests".to_owned(),
            scopes: scopes.to_vec(),
            expires_in,
        };
        let (secret, key) = keys::create(db, clock, &ids, request).await.expect("a key is made");
        (secret.expose().to_owned(), key)
    };
    let (revoked, ApiKey { id, .. }) = make("demo", &[], None).await;
    keys::revoke(db, clock, id).await.expect("the key is revoked");
    Keys {
        all: make("demo", &[], None).await.0,
        reading: make("demo", &[Scope::Read], None).await.0,
        expired: make("demo", &[], Some(Duration::ZERO)).await.0,
        revoked,
        foreign: make("other", &[], None).await.0,
    }
}
