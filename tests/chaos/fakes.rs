//! The fake model and the fake tools. The last word of a message decides how the model behaves, so that a step that is
//! repeated after a kill gets the same answer.

use std::collections::HashSet;
use std::time::Duration;

use http::StatusCode;
use serde_json::json;

use crate::support::fake_model::{FakeModel, ModelRequest, Reply, ToolCall};
use crate::support::fake_tool::{FakeTool, ToolReply, ToolRequest};

/// How the model behaves for a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Plan {
    /// It answers.
    Plain,
    /// It calls a tool that may be repeated.
    Lookup,
    /// It calls a tool that must not be repeated.
    Note,
    /// It calls a tool that deduplicates by the call's id.
    Keyed,
    /// It calls two tools at once.
    Both,
    /// It calls a tool in every round.
    Loop,
    /// It fails once with a transient error, and then answers.
    Flaky,
    /// It refuses.
    Refuse,
}

impl Plan {
    pub const ALL: [Self; 8] = [
        Self::Plain,
        Self::Lookup,
        Self::Note,
        Self::Keyed,
        Self::Both,
        Self::Loop,
        Self::Flaky,
        Self::Refuse,
    ];

    pub fn word(self) -> &'static str {
        match self {
            Self::Plain => "plain",
            Self::Lookup => "lookup",
            Self::Note => "note",
            Self::Keyed => "keyed",
            Self::Both => "both",
            Self::Loop => "loop",
            Self::Flaky => "flaky",
            Self::Refuse => "refuse",
        }
    }

    pub fn of(text: &str) -> Self {
        Self::named(text).unwrap_or(Self::Plain)
    }

    /// `None` if the message names no plan.
    pub fn named(text: &str) -> Option<Self> {
        let word = text.rsplit(' ').next().unwrap_or_default();
        Self::ALL.into_iter().find(|plan| plan.word() == word)
    }

    /// The tools of one round.
    pub fn tools(self) -> &'static [&'static str] {
        match self {
            Self::Plain | Self::Flaky | Self::Refuse => &[],
            Self::Lookup | Self::Loop => &["lookup"],
            Self::Note => &["note"],
            Self::Keyed => &["keyed"],
            Self::Both => &["lookup", "note"],
        }
    }
}

pub struct Fakes {
    pub model: FakeModel,
    pub tool: FakeTool,
}

impl Fakes {
    pub async fn start() -> Self {
        let fakes = Self { model: FakeModel::start().await, tool: FakeTool::start().await };
        let mut failed = HashSet::new();
        fakes.model.script().respond_with(move |request: &ModelRequest| {
            let prompt = request.prompt().unwrap_or_default();
            let is_flaky = Plan::of(&prompt) == Plan::Flaky && failed.insert(prompt.clone());
            if is_flaky { transient_failure(&prompt) } else { default_answer(request) }
        });
        fakes.tool.script().respond_with(default_result);
        fakes
    }
}

/// The number of completed tool rounds in the request's history.
pub fn rounds(request: &ModelRequest) -> usize {
    let messages = request.messages();
    let asked = messages.iter().rposition(|message| message["role"] == "user").unwrap_or(0);
    messages[asked..].iter().filter(|message| message["tool_calls"].is_array()).count()
}

/// The model's answer to a request.
pub fn default_answer(request: &ModelRequest) -> Reply {
    let prompt = request.prompt().unwrap_or_default();
    let plan = Plan::of(&prompt);
    let reply = match plan {
        Plan::Refuse => Reply::error(StatusCode::BAD_REQUEST, "No."),
        _ if plan.tools().is_empty() || (plan != Plan::Loop && rounds(request) > 0) => {
            Reply::text(&format!("re: {prompt}"))
        }
        _ => {
            Reply::tool_calls(plan.tools().iter().map(|name| ToolCall::new(name, &json!({ "text": prompt }))))
        }
    };
    reply.after(Duration::from_millis(thinking_millis(&prompt)))
}

/// A transient failure, after which the turn is retried.
fn transient_failure(text: &str) -> Reply {
    match thinking_millis(text) % 4 {
        0 => Reply::error(StatusCode::SERVICE_UNAVAILABLE, "Not now."),
        1 => Reply::cut(text),
        2 => Reply::unfinished(text),
        _ => Reply::raw(StatusCode::BAD_GATEWAY, "text/html", "<h1>Bad gateway</h1>"),
    }
}

/// A tool's answer: its name, taken from the path.
pub fn default_result(request: &ToolRequest) -> ToolReply {
    ToolReply::json(&json!({ "by": request.uri.path() })).after(Duration::from_millis(5))
}

/// Up to 50 ms, derived from the text.
fn thinking_millis(text: &str) -> u64 {
    text.bytes().fold(7_u64, |sum, byte| sum.wrapping_mul(31).wrapping_add(byte.into())) % 50
}
