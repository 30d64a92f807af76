//! The search of a knowledge base: the tool, and what it shares with the platform door.

use async_trait::async_trait;
use serde_json::Value;

use super::{Adapters, Call, CallContext, Outcome, Tool};
use crate::domain::chat::ToolSpec;
use crate::domain::ids::{KnowledgeBaseId, WorkspaceId};
use crate::domain::knowledge::{Base, Corpus, Hit, MOST_PASSAGES, plan, query_terms, rank, search_result};
use crate::domain::tool_loop::CallResult;
use crate::store::{Conn, Db, StoreError, knowledge_bases, passages};

/// The best `limit` passages of a base for a query; empty where nothing fits.
pub async fn search_base(db: &Db, base: &Base, query: &str, limit: usize) -> Result<Vec<Hit>, StoreError> {
    let terms = query_terms(query, base.language);
    if terms.is_empty() {
        return Ok(Vec::new());
    }
    let read = async |mut conn: Conn<'_>| {
        let terms = passages::frequencies(conn.reborrow(), base.workspace, base.id, &terms).await?;
        let found = passages::candidates(conn, base.workspace, base.id, &plan(terms.clone())).await?;
        Ok((terms, found))
    };
    let (terms, found) = db.reading(read).await?;
    let corpus = Corpus { passages: base.passages, words: base.words, terms };
    Ok(rank(found, &corpus, limit))
}

/// Searches documents.
pub(super) struct Search {
    spec: ToolSpec,
    base: KnowledgeBaseId,
    db: Db,
}

impl Search {
    pub(super) fn new(spec: ToolSpec, base: KnowledgeBaseId, adapters: &Adapters) -> Self {
        Self { spec, base, db: adapters.db.clone() }
    }

    async fn search(&self, workspace: WorkspaceId, query: &str) -> Result<Vec<Hit>, StoreError> {
        let read = async |conn: Conn<'_>| knowledge_bases::find(conn, workspace, self.base).await;
        // One that was deleted has nothing to say.
        let Some(base) = self.db.reading(read).await? else { return Ok(Vec::new()) };
        search_base(&self.db, &base, query, MOST_PASSAGES).await
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
