//! An embeddings endpoint over real HTTP. A text's vector is computed from its words, and synonyms have one direction.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};

use http::StatusCode;
use serde_json::{Value, json};

use super::calls::Calls;
use super::fake_tool::{FakeTool, ToolReply, ToolRequest};
use super::script::Script;

/// The default length of its vectors.
pub const DIMENSION: usize = 64;

/// Synonyms, which a full-text search does not find.
const SAME: [(&str, &str); 4] =
    [("automobile", "car"), ("vehicle", "car"), ("reimbursement", "refund"), ("canine", "dog")];

/// Stop words, which have no direction.
const EMPTY: [&str; 8] = ["a", "an", "the", "of", "is", "my", "to", "for"];

pub struct FakeEmbeddings(FakeTool);

impl FakeEmbeddings {
    /// Embeds every text until the script changes that.
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

    /// Answers every call with this status.
    pub fn always(&self, status: StatusCode) {
        self.script().respond_with(move |_| ToolReply::status(status));
    }

    /// Embeds every text again.
    pub fn recover(&self) {
        self.script().respond_with(embed);
    }

    /// All received texts, in order.
    pub fn texts(&self) -> Vec<String> {
        self.calls().all().iter().flat_map(|call| texts(&call.request)).collect()
    }
}

/// The texts of a request.
pub fn texts(request: &ToolRequest) -> Vec<String> {
    let input = request.json()["input"].as_array().cloned().unwrap_or_default();
    input.iter().map(|text| text.as_str().expect("a text").to_owned()).collect()
}

/// The correct answer to a request.
pub fn embed(request: &ToolRequest) -> ToolReply {
    embed_with(request, DIMENSION)
}

/// The correct answer with vectors of this length.
pub fn embed_with(request: &ToolRequest, dimension: usize) -> ToolReply {
    let data: Vec<Value> = texts(request)
        .iter()
        .enumerate()
        .map(|(index, text)| {
            json!({ "object": "embedding", "index": index, "embedding": vector(text, dimension) })
        })
        .collect();
    // In reverse order, because only the index counts.
    let data: Vec<Value> = data.into_iter().rev().collect();
    let model = request.json()["model"].clone();
    ToolReply::json(
        &json!({ "object": "list", "model": model, "data": data, "usage": { "prompt_tokens": 1 } }),
    )
}

#[expect(clippy::float_arithmetic, reason = "vectors are floats; nothing is paid by them")]
fn vector(text: &str, dimension: usize) -> Vec<f32> {
    // Never zero, so that a text without words has a direction too.
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
