//! The workspaces of a test's server, as an operator's file describes them, and their keys.

use std::time::Duration;

use rejoinder::domain::account::Scope;
use rejoinder::domain::api_key::ApiKey;
use rejoinder::domain::clock::Clock;
use rejoinder::domain::ids::Ids;
use rejoinder::outbound::AllowHosts;
use rejoinder::service::apply_workspace::{self, Mode, Site};
use rejoinder::service::keys::{self, CreateKey};
use rejoinder::store::Db;

use super::fake_tool::FakeTool;

/// The assistant that conversations have, unless said otherwise.
pub const ASSISTANT: &str = "550e8400-e29b-41d4-a716-446655440000";
/// One that talks to the pages of `https://shop.example` alone.
pub const GUARDED: &str = "550e8400-e29b-41d4-a716-4466554400aa";
/// The widget conversation of the widget contract.
pub const WIDGET: &str = "7c9e6679-7425-40de-944b-e07fc1f90ae7";
/// A conversation that is free.
pub const TEST: &str = "0b5f4c1e-9d3a-4e57-8f21-6a7c2d9e1b40";

/// The workspace of most tests. Its calendar has exactly the times of the widget contract's example, every week.
pub fn workspace(tool: &FakeTool) -> String {
    format!(
        r#"
[workspace]
slug = "demo"
name = "Demo Ltd"
balance = "10.00"
default_assistant = "front-desk"

[[assistants]]
slug = "front-desk"
id = "{ASSISTANT}"
name = "Front desk"
system_prompt = "You are the front desk of {{{{company}}}}."
first_message = "Hello {{{{name}}}}!"
variables = {{ company = "Demo Ltd" }}
tools = ["availability", "booking", "cancelling", "orders", "notes"]

[[assistants]]
slug = "guarded"
id = "{GUARDED}"
name = "Guarded"
system_prompt = "You help."
allowed_origins = ["https://shop.example"]

[[calendars]]
slug = "demos"
time_zone = "Europe/Berlin"
slot_minutes = 60
hours = {{ mon = ["14:00-15:00"], wed = ["10:00-11:00"], fri = ["15:00-16:00"] }}

[[tools]]
slug = "availability"
kind = "calendar_availability"
calendar = "demos"

[[tools]]
slug = "booking"
kind = "calendar_booking"
calendar = "demos"

[[tools]]
slug = "cancelling"
kind = "calendar_cancel"
calendar = "demos"

[[tools]]
slug = "orders"
kind = "webhook"
name = "get_order_status"
description = "Looks up an order by its number"
method = "GET"
url = "{orders}/{{order_id}}"
timeout = "1s"
parameters = {{ type = "object", properties = {{ order_id = {{ type = "string" }} }}, required = ["order_id"] }}

[[tools]]
slug = "notes"
kind = "webhook"
name = "write_note"
description = "Keeps a note"
method = "POST"
url = "{notes}"
parameters = {{ type = "object", properties = {{ text = {{ type = "string" }} }}, required = ["text"] }}

[[conversations]]
id = "{WIDGET}"
assistant = "front-desk"
type = "widget"

[[conversations]]
id = "{TEST}"
assistant = "front-desk"
type = "test"
"#,
        orders = tool.url("/orders"),
        notes = tool.url("/notes"),
    )
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
    let site = Site { db, clock, ids: &ids, seal: None, allow_hosts: &allow_hosts, secret: &|_| None };
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
