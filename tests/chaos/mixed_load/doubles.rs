//! The model, the tools and the webhook receivers of the mixed load. The model's name decides how it behaves.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::StatusCode;
use serde_json::json;

use super::honest::Expected;
use crate::fakes::{Fakes, rounds};
use crate::support::fake_model::{ModelRequest, Reply, ToolCall};
use crate::support::fake_tool::{ToolReply, ToolRequest};
use crate::support::script::Gate;

/// The model of honest tenants.
const FAST: Duration = Duration::from_millis(20);
/// The model whose turns take their slots for long.
const SLOW: Duration = Duration::from_secs(20);
const MEGABYTES: usize = 5 << 20;

/// The honest tenants' receivers give what arrives to `expected`, by the name of the tenant.
pub fn install(fakes: &Fakes, expected: [(&'static str, Arc<Expected>); 2]) {
    fakes.model.calls().stop_recording();
    fakes.tool.calls().stop_recording();
    fakes.model.script().respond_with(answer);
    let (never, megabytes) = (Gate::closed(), Bytes::from(vec![b'x'; MEGABYTES]));
    fakes.tool.script().respond_with(move |request: &ToolRequest| {
        let path = request.uri.path();
        let reply = ToolReply::json(&json!({}));
        match path {
            "/hang" => reply.gated_by(&never),
            "/megabytes" => reply.with_body(megabytes.clone()),
            "/fail" => ToolReply::status(StatusCode::INTERNAL_SERVER_ERROR),
            _ => {
                let tenant = expected.iter().find(|(name, _)| path.strip_prefix("/hooks/") == Some(*name));
                tenant.expect("a webhook of an honest tenant").1.arrived_at_the_receiver(&request.json());
                reply
            }
        }
    });
}

fn answer(request: &ModelRequest) -> Reply {
    let prompt = request.prompt().unwrap_or_default();
    let is_first = rounds(request) == 0;
    match request.body["model"].as_str() {
        Some("slow") => Reply::text("At last.").after(SLOW),
        Some("caller") if is_first => {
            Reply::tool_calls(["hang", "megabytes", "megabytes"].map(|name| ToolCall::new(name, &json!({}))))
        }
        Some("caller") => Reply::text("Called."),
        Some("talker") if is_first && prompt == "calls" => {
            let arguments = json!({ "text": "x".repeat(300_000) });
            Reply::tool_calls((0..8).map(|_| ToolCall::new("megabytes", &arguments)))
        }
        Some("talker") => Reply::text(&"Much to say. ".repeat(80_000)),
        _ => Reply::text(&reply_to(&prompt)).after(FAST),
    }
}

/// What the model of the honest tenants answers.
pub fn reply_to(text: &str) -> String {
    format!("re: {text}")
}
