//! Knowledge base search: the tool, and the searcher that it shares with the platform API.

mod query_embedder;
mod searcher;

use async_trait::async_trait;
use serde_json::Value;

use super::{Adapters, Call, CallContext, Tool, ToolOutcome};
use crate::domain::chat::ToolSpec;
use crate::domain::ids::{KnowledgeBaseId, WorkspaceId};
use crate::domain::knowledge::{Hit, MAX_RESULT_PASSAGES, SearchMode, search_result};
use crate::domain::tool_loop::CallResult;
use crate::store::knowledge::knowledge_bases;
use crate::store::{Conn, Db, StoreError};

pub use query_embedder::QueryEmbedder;
pub use searcher::Searcher;

/// The tool that searches a knowledge base.
pub(super) struct KnowledgeSearch {
    spec: ToolSpec,
    base: KnowledgeBaseId,
    db: Db,
    searcher: Searcher,
}

impl KnowledgeSearch {
    pub(super) fn new(spec: ToolSpec, base: KnowledgeBaseId, adapters: &Adapters) -> Self {
        Self { spec, base, db: adapters.db.clone(), searcher: adapters.searcher.clone() }
    }

    async fn search(&self, workspace: WorkspaceId, query: &str) -> Result<Vec<Hit>, StoreError> {
        let read = async |conn: Conn<'_>| knowledge_bases::find(conn, workspace, self.base).await;
        // A deleted knowledge base has no results.
        let Some(base) = self.db.read(workspace, read).await? else { return Ok(Vec::new()) };
        self.searcher.find(&base, query, MAX_RESULT_PASSAGES, SearchMode::Both).await
    }
}

#[async_trait]
impl Tool for KnowledgeSearch {
    fn spec(&self) -> &ToolSpec {
        &self.spec
    }

    fn is_repeatable(&self) -> bool {
        true
    }

    async fn call(&self, call: &Call, context: &CallContext<'_>) -> ToolOutcome {
        let query = call.arguments.get("query").and_then(Value::as_str).unwrap_or_default();
        match self.search(context.workspace, query).await {
            Ok(hits) => ToolOutcome::Result(CallResult::new(search_result(&hits))),
            Err(error) => {
                tracing::warn!(
                    call.id = call.id,
                    error = &error as &dyn std::error::Error,
                    "a knowledge base could not be searched"
                );
                ToolOutcome::Result(CallResult::failed("The documents cannot be searched at the moment."))
            }
        }
    }
}
