//! The result of a search, as the model and `function_calls` see it.

use serde_json::{Map, Value, json};

use super::Hit;

/// Maximum number of passages in a result for the model.
pub const MAX_RESULT_PASSAGES: usize = 5;

/// `{passages: [{source, heading?, text, url?}]}`, best first.
#[must_use]
pub fn search_result(hits: &[Hit]) -> Value {
    let passages: Vec<Value> = hits.iter().map(|hit| Value::Object(passage_fields(hit))).collect();
    json!({ "passages": passages })
}

fn passage_fields(hit: &Hit) -> Map<String, Value> {
    let passage = &hit.passage;
    let mut fields = Map::new();
    let mut put = |key: &str, text: &str| fields.insert(key.to_owned(), text.into());
    put("source", &passage.title);
    if !passage.heading.is_empty() {
        put("heading", &passage.heading);
    }
    put("text", &passage.text);
    if let Some(url) = &passage.url {
        put("url", url);
    }
    fields
}
