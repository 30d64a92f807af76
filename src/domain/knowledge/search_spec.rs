//! The spec of the search tool for the model.

use serde_json::json;

use crate::domain::chat::ToolSpec;

/// Maximum length of a query, in characters.
const MAX_QUERY_LENGTH: u32 = 1000;

/// The default spec of the search tool.
#[must_use]
pub fn search_spec() -> ToolSpec {
    ToolSpec {
        name: "search_knowledge_base".to_owned(),
        description: "Searches the company's documents. The answer has the passages that fit best, each with the \
            source that it is from, the best first. There may be none, and the best may still not fit: if they do \
            not answer the question, say that the documents do not. Use it before you answer a question about the \
            company, and say only what the passages say."
            .to_owned(),
        parameters: json!({
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
        }),
    }
}
