//! The offline model: a demonstration without key and network. It follows simple rules, says so in every reply, and
//! uses the same tool loop as any other model. It understands just enough English to demonstrate the tools.

mod arguments;
mod history;
mod phrases;
mod plan;
#[cfg(test)]
mod tests;
mod wording;

use std::sync::Arc;

use futures::{StreamExt, stream};
use jiff::{Timestamp, tz::TimeZone};
use serde_json::{Map, Value};

use crate::domain::chat::{ChatRequest, Part};

use super::{ChatModel, PartStream};

/// The source of the current time.
pub type Now = Arc<dyn Fn() -> Timestamp + Send + Sync>;

/// The rule-based model.
pub struct Offline {
    now: Now,
    zone: TimeZone,
}

/// The result of the rules.
#[derive(Debug, PartialEq)]
enum Answer {
    Say(String),
    Call { name: String, arguments: Map<String, Value> },
}

impl Offline {
    /// `zone` defines "today" and "tomorrow".
    pub fn new(now: Now, zone: TimeZone) -> Self {
        Self { now, zone }
    }
}

impl ChatModel for Offline {
    fn start(&self, request: ChatRequest) -> PartStream {
        let today = (self.now)().to_zoned(self.zone.clone()).date();
        let parts = match plan::answer(&request, today) {
            Answer::Say(text) => pieces(&text),
            Answer::Call { name, arguments } => vec![Part::Call {
                index: 0,
                id: Some("offline".to_owned()),
                name: Some(name),
                arguments: Value::Object(arguments).to_string(),
            }],
        };
        stream::iter(parts).chain(stream::iter([Part::Finished { is_truncated: false }])).map(Ok).boxed()
    }
}

/// Splits a text into pieces of a few words, like the stream of a real model.
fn pieces(text: &str) -> Vec<Part> {
    const WORDS: usize = 4;
    let words: Vec<&str> = text.split_inclusive(' ').collect();
    words.chunks(WORDS).map(|words| Part::Text(words.concat())).collect()
}
