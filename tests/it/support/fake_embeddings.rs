//! An embeddings endpoint over real HTTP: a text's vector is made of its words, and some words mean the same.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};

use http::StatusCode;
use serde_json::{Value, json};

use super::calls::Calls;
use super::fake_tool::{FakeTool, ToolReply, ToolRequest};
use super::script::Script;

/// How long its vectors are, unless a test says otherwise.
pub const DIMENSION: usize = 64;

/// Words that have one direction: what full-text search cannot know.
const SAME: [(&str, &str); 4] =
    [("automobile", "car"), ("vehicle", "car"), ("reimbursement", "refund"), ("canine", "dog")];

/// Small words have none.
const EMPTY: [&str; 8] = ["a", "an", "the", "of", "is", "my", "to", "for"];

pub struct FakeEmbeddings(FakeTool);

impl FakeEmbeddings {
    /// Embeds whatever it is sent, until it is told otherwise.
    pub async fn start() -> Self {
        let fake = FakeTool::start().await;
        fake.script().respond_with(embed);
        Self(fake)
    }

    pub fn base_url(&self) -> String {
        self.0.url("/v1")
    }

    pub fn script(&self) -> &Script<ToolRequest, ToolReply> {
        self.0.script()
    }

    pub fn calls(&self) -> &Calls<ToolRequest> {
        self.0.calls()
    }

    /// Every call gets this status.
    pub fn always(&self, status: StatusCode) {
        self.script().respond_with(move |_| ToolReply::status(status));
    }

    /// It embeds again.
    pub fn recover(&self) {
        self.script().respond_with(embed);
    }

    /// All texts that it was sent, in order.
    pub fn texts(&self) -> Vec<String> {
        self.calls().all().iter().flat_map(|call| texts(&call.request)).collect()
    }
}

/// The texts of a request.
pub fn texts(request: &ToolRequest) -> Vec<String> {
    let input = request.json()["input"].as_array().cloned().unwrap_or_default();
    input.iter().map(|text| text.as_str().expect("a text").to_owned()).collect()
}

/// The answer that fits a request.
pub fn embed(request: &ToolRequest) -> ToolReply {
    embed_with(request, DIMENSION)
}

/// The same, with vectors of another length.
pub fn embed_with(request: &ToolRequest, dimension: usize) -> ToolReply {
    let data: Vec<Value> = texts(request)
        .iter()
        .enumerate()
        .map(|(index, text)| {
            json!({ "object": "embedding", "index": index, "embedding": vector(text, dimension) })
        })
        .collect();
    // In another order than asked: the index counts.
    let data: Vec<Value> = data.into_iter().rev().collect();
    let model = request.json()["model"].clone();
    ToolReply::json(
        &json!({ "object": "list", "model": model, "data": data, "usage": { "prompt_tokens": 1 } }),
    )
}

#[expect(clippy::float_arithmetic, reason = "vectors are floats; nothing is paid by them")]
fn vector(text: &str, dimension: usize) -> Vec<f32> {
    // Never zero: a text of no words has a direction, too.
    let mut vector = vec![0.01; dimension];
    for word in text.to_lowercase().split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty()) {
        if EMPTY.contains(&word) {
            continue;
        }
        let word = SAME.iter().find(|(same, _)| *same == word).map_or(word, |(_, word)| word);
        let mut hasher = DefaultHasher::new();
        word.hash(&mut hasher);
        let component = usize::try_from(hasher.finish() % 1_000_003).expect("a small number") % dimension;
        vector[component] += 1.0;
    }
    vector
}
