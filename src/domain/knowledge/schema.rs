//! How the search presents itself to a model.

use serde_json::{Value, json};

/// The default name of the tool.
pub const SEARCH_NAME: &str = "search_knowledge_base";
/// The tool's description, for the model.
pub const SEARCH_DESCRIPTION: &str = "Searches the company's documents. The answer has the passages that fit \
    best, each with the source that it is from, the best first. There may be none, and the best may still not fit: \
    if they do not answer the question, say that the documents do not. Use it before you answer a question about \
    the company, and say only what the passages say.";

/// How long a query may be, in characters.
const MAX_QUERY_LENGTH: u32 = 1000;

/// Arguments of the tool.
#[must_use]
pub fn search_schema() -> Value {
    json!({
        "type": "object",
        "properties": {
            "query": {
                "type": "string",
                "maxLength": MAX_QUERY_LENGTH,
                "description": "What to look for, in the words that a document would have; a question will do",
            },
        },
        "required": ["query"],
        "additionalProperties": false,
    })
}
