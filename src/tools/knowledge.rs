//! The search of a knowledge base: the tool, and what it shares with the platform door.

mod query_embedder;
mod searcher;

use async_trait::async_trait;
use serde_json::Value;

use super::{Adapters, Call, CallContext, Outcome, Tool};
use crate::domain::chat::ToolSpec;
use crate::domain::ids::{KnowledgeBaseId, WorkspaceId};
use crate::domain::knowledge::{Hit, MOST_PASSAGES, SearchBy, search_result};
use crate::domain::tool_loop::CallResult;
use crate::store::{Conn, Db, StoreError, knowledge_bases};

pub use query_embedder::QueryEmbedder;
pub use searcher::Searcher;

/// Searches documents.
pub(super) struct Search {
    spec: ToolSpec,
    base: KnowledgeBaseId,
    db: Db,
    searcher: Searcher,
}

impl Search {
    pub(super) fn new(spec: ToolSpec, base: KnowledgeBaseId, adapters: &Adapters) -> Self {
        Self { spec, base, db: adapters.db.clone(), searcher: adapters.searcher.clone() }
    }

    async fn search(&self, workspace: WorkspaceId, query: &str) -> Result<Vec<Hit>, StoreError> {
        let read = async |conn: Conn<'_>| knowledge_bases::find(conn, workspace, self.base).await;
        // One that was deleted has nothing to say.
        let Some(base) = self.db.reading(read).await? else { return Ok(Vec::new()) };
        self.searcher.find(&base, query, MOST_PASSAGES, SearchBy::Both).await
    }
}

#[async_trait]
impl Tool for Search {
    fn spec(&self) -> &ToolSpec {
        &self.spec
    }

    fn is_repeatable(&self) -> bool {
        true
    }

    async fn call(&self, call: &Call, context: &CallContext<'_>) -> Outcome {
        let query = call.arguments.get("query").and_then(Value::as_str).unwrap_or_default();
        match self.search(context.workspace, query).await {
            Ok(hits) => Outcome::Result(CallResult::new(search_result(&hits))),
            Err(error) => {
                tracing::warn!(
                    call.id = call.id,
                    error = &error as &dyn std::error::Error,
                    "a knowledge base could not be searched"
                );
                Outcome::Result(CallResult::failed("The documents cannot be searched at the moment."))
            }
        }
    }
}
