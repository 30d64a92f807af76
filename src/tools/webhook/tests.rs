//! The webhook tool with a real HTTP server on loopback.

mod requests;
mod responses;
mod server;

use std::collections::BTreeMap;
use std::time::Duration;

use secrecy::SecretString;
use serde_json::{Map, Value, json};
use uuid::Uuid;

use super::*;
use crate::domain::clock::FixedClock;
use crate::domain::ids::{ConversationId, WorkspaceId};
use crate::domain::seal::{SealKey, SealedSecret, SecretContext};
use crate::domain::tool::{HeaderText, Headers};
use crate::outbound::AllowHosts;
use crate::tools::tests::PanickingWriter;

use server::Server;

/// A timeout that is long enough for a busy machine. No passing test waits for it.
const PATIENCE: Duration = Duration::from_secs(30);
const WORKSPACE: WorkspaceId = WorkspaceId(Uuid::nil());
const SLUG: &str = "hook";
const CALL: &str = "call_trn_1_0_1";
/// 2026-11-24T13:00:00Z.
const NOW: i64 = 1_795_525_200;

fn seal(field: SecretField<'_>, secret: &str) -> SealedSecret {
    let context = SecretContext::of_tool(WORKSPACE, SLUG, field);
    SealKeys::from(SealKey::new([1; 32])).seal(&context, &SecretString::from(secret), [7; 24]).unwrap()
}

fn sealed(name: &str, secret: &str) -> (String, HeaderText) {
    (name.to_owned(), HeaderText::Secret(seal(SecretField::Header(name), secret)))
}

fn plain(name: &str, template: &str) -> (String, HeaderText) {
    (name.to_owned(), HeaderText::Plain(template.to_owned()))
}

/// `method` on `path` of the server, with nothing else configured.
fn tool(method: &str, server: &Server, path: &str) -> WebhookTool {
    WebhookTool {
        method: method.to_owned(),
        url: format!("http://{}{path}", server.host()),
        headers: Headers::new(),
        body: None,
        form: false,
        static_fields: Map::new(),
        timeout: Duration::from_secs(30),
        secret: None,
        secrets: BTreeMap::new(),
        idempotent: false,
    }
}

fn build_webhook(tool: &WebhookTool) -> Webhook {
    Webhook {
        spec: ToolSpec { name: "hook".to_owned(), description: String::new(), parameters: json!({}) },
        slug: SLUG.to_owned(),
        endpoint: Endpoint::read(tool).unwrap(),
        outbound: GuardedClient::new(AllowHosts::default()).unwrap(),
        seal_keys: Some(Arc::new(SealKeys::from(SealKey::new([1; 32])))),
        clock: Arc::new(FixedClock::at(jiff::Timestamp::from_second(NOW).unwrap())),
    }
}

/// Calls it for a workspace that may reach `hosts`; `{{customer}}` is a trusted variable.
async fn call_allowing(hosts: &[&str], webhook: &Webhook, arguments: Value) -> Value {
    let Value::Object(arguments) = arguments else { panic!("arguments are an object") };
    let variables = Map::from_iter([("customer".to_owned(), json!("c/7"))]);
    let context = CallContext {
        workspace: WORKSPACE,
        conversation: ConversationId(Uuid::nil()),
        variables: &variables,
        allow_hosts: &AllowHosts::parse(hosts).unwrap(),
        writer: &PanickingWriter,
    };
    match webhook.call(&Call { id: CALL.to_owned(), arguments }, &context).await {
        ToolOutcome::Result(result) => Value::Object(result.fields().clone()),
        ToolOutcome::Write(write) => panic!("{write:?}"),
    }
}

async fn call(tool: &WebhookTool, arguments: Value) -> Value {
    call_allowing(&["127.0.0.1"], &build_webhook(tool), arguments).await
}
