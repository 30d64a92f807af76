//! Vectors of passages, by model. Searches read them one by one.

use std::collections::HashMap;

use futures::TryStreamExt as _;
use sqlx::QueryBuilder;

use super::knowledge_bases;
use crate::domain::ids::{DocumentId, KnowledgeBaseId, WorkspaceId};
use crate::domain::knowledge::{KnowledgeBase, TextDigest};
use crate::domain::vector::{NearestNeighbors, Vector};
use crate::store::{Conn, StoreError, on_conn};

/// How many vectors of a rewritten document are held in memory for reuse. The others are computed again.
const MAX_REUSED: i64 = 2000;
/// Vectors of one statement. Bounds its size.
const ROWS_PER_STATEMENT: usize = 200;

/// A passage without a vector.
#[derive(Clone, Debug, PartialEq, Eq, sqlx::FromRow)]
pub struct UnembeddedPassage {
    pub number: i64,
    /// Title of the document.
    pub title: String,
    /// Empty if the passage is below no heading.
    pub heading: String,
    pub text: String,
}

/// The first `limit` passages of a document without a vector of this model, in order.
pub async fn list_unembedded(
    conn: Conn<'_>,
    workspace: WorkspaceId,
    document: DocumentId,
    model: &str,
    limit: usize,
) -> Result<Vec<UnembeddedPassage>, StoreError> {
    const LIST: &str = "select p.number, d.title, p.heading, p.text from passages p \
        join documents d on d.workspace_id = p.workspace_id and d.id = p.document_id \
        left join passage_vectors v on v.workspace_id = p.workspace_id and v.base_id = p.base_id \
            and v.document_id = p.document_id and v.position = p.position and v.model = $3 and v.number = p.number \
        where p.workspace_id = $1 and p.document_id = $2 and v.number is null order by p.position limit $4";
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    Ok(on_conn!(conn, |c| {
        let query = sqlx::query_as(LIST).bind(workspace).bind(document).bind(model).bind(limit);
        query.fetch_all(c).await?
    }))
}

/// The result of embedding a passage.
#[derive(Clone, Debug, PartialEq)]
pub struct PassageEmbedding {
    /// Number of the passage.
    pub number: i64,
    /// Digest of the embedded text.
    pub digest: TextDigest,
    /// None if the model rejects the text.
    pub vector: Option<Vector>,
}

/// Writes the vectors of passages that still exist. Locks the base, so that its documents do not change meanwhile.
pub async fn put(
    mut conn: Conn<'_>,
    workspace: WorkspaceId,
    base: KnowledgeBaseId,
    model: &str,
    embeddings: &[PassageEmbedding],
) -> Result<(), StoreError> {
    const PUT: &str = "insert into passage_vectors \
        (workspace_id, base_id, document_id, position, model, number, digest, dimension, vector) \
        select p.workspace_id, p.base_id, p.document_id, p.position, v.column1, p.number, v.column3, v.column4, \
            v.column5 from (";
    const JOIN_BY_NUMBER: &str = ") as v join passages p on p.number = v.column2 where p.workspace_id = ";
    const ON_CONFLICT: &str = " on conflict (workspace_id, base_id, document_id, position, model) do update \
        set number = excluded.number, digest = excluded.digest, dimension = excluded.dimension, \
            vector = excluded.vector";
    if embeddings.is_empty() {
        return Ok(());
    }
    knowledge_bases::lock(conn.reborrow(), workspace, base).await?;
    on_conn!(conn, |c| {
        let mut query = QueryBuilder::new(PUT);
        query.push_values(embeddings, |mut row, PassageEmbedding { number, digest, vector }| {
            let dimension = i64::try_from(vector.as_ref().map_or(0, Vector::dimension)).unwrap_or(0);
            let bytes = vector.as_ref().map(Vector::to_bytes).unwrap_or_default();
            row.push_bind(model).push_bind(number).push_bind(digest.to_vec());
            row.push_bind(dimension).push_bind(bytes);
        });
        query
            .push(JOIN_BY_NUMBER)
            .push_bind(workspace)
            .push(" and p.base_id = ")
            .push_bind(base)
            .push(ON_CONFLICT);
        query.build().execute(c).await?;
    });
    Ok(())
}

/// A vector of a text of a document, whichever passage the text belongs to.
#[derive(sqlx::FromRow)]
pub struct ReusableVector {
    model: String,
    digest: Vec<u8>,
    dimension: i64,
    vector: Vec<u8>,
}

/// The vectors that a document keeps when it is rewritten: those of texts that it still contains. The caller has locked the
/// base.
pub async fn list_reusable(
    conn: Conn<'_>,
    base: &KnowledgeBase,
    document: DocumentId,
    texts: &[TextDigest],
) -> Result<Vec<ReusableVector>, StoreError> {
    const LIST_REUSABLE: &str =
        "select model, digest, dimension, vector from passage_vectors where workspace_id = ";
    if texts.is_empty() {
        return Ok(Vec::new());
    }
    Ok(on_conn!(conn, |c| {
        let mut query = QueryBuilder::new(LIST_REUSABLE);
        query.push_bind(base.workspace).push(" and base_id = ").push_bind(base.id);
        query.push(" and document_id = ").push_bind(document).push(" and digest in (");
        let mut list = query.separated(", ");
        for digest in texts {
            list.push_bind(digest.to_vec());
        }
        query.push(") order by position limit ").push_bind(MAX_REUSED);
        query.build_query_as().fetch_all(c).await?
    }))
}

/// Assigns reusable vectors to the new passages of a document. `texts` are the digests of the passages, in order.
pub async fn restore(
    mut conn: Conn<'_>,
    base: &KnowledgeBase,
    document: DocumentId,
    texts: &[TextDigest],
    reusable: &[ReusableVector],
) -> Result<(), StoreError> {
    const RESTORE: &str = "insert into passage_vectors \
        (workspace_id, base_id, document_id, position, model, number, digest, dimension, vector) \
        select p.workspace_id, p.base_id, p.document_id, p.position, v.column2, p.number, v.column3, v.column4, \
            v.column5 from (";
    const JOIN_BY_POSITION: &str = ") as v join passages p on p.position = v.column1 where p.workspace_id = ";
    let mut positions: HashMap<&[u8], Vec<i64>> = HashMap::new();
    for (position, digest) in (0..).zip(texts) {
        positions.entry(digest).or_default().push(position);
    }
    let positions_of =
        |vector: &ReusableVector| positions.get(vector.digest.as_slice()).cloned().unwrap_or_default();
    let rows: Vec<(i64, &ReusableVector)> = reusable
        .iter()
        .flat_map(|vector| positions_of(vector).into_iter().map(move |position| (position, vector)))
        .collect();
    for rows in rows.chunks(ROWS_PER_STATEMENT) {
        on_conn!(conn.reborrow(), |c| {
            let mut query = QueryBuilder::new(RESTORE);
            query.push_values(rows, |mut row, (position, vector)| {
                row.push_bind(*position).push_bind(&vector.model).push_bind(&vector.digest);
                row.push_bind(vector.dimension).push_bind(&vector.vector);
            });
            query.push(JOIN_BY_POSITION).push_bind(base.workspace).push(" and p.document_id = ");
            query.push_bind(document).push(" on conflict do nothing");
            query.build().execute(c).await?;
        });
    }
    Ok(())
}

/// The passages of a base nearest to a query, and the candidates that have a vector at all.
#[derive(Clone, Debug, PartialEq)]
pub struct NearestPassages {
    /// Passage numbers and cosine similarities, nearest first.
    pub ranked: Vec<(i64, f32)>,
    /// Passage numbers, ascending.
    pub embedded: Vec<i64>,
}

/// Compares a query with every vector of its model in the base. The vectors are streamed, so memory use does not depend on
/// their number.
pub async fn nearest(
    conn: Conn<'_>,
    (workspace, base): (WorkspaceId, KnowledgeBaseId),
    (model, query): (&str, &Vector),
    limit: usize,
    candidates: &[i64],
) -> Result<NearestPassages, StoreError> {
    const SCAN: &str = "select number, vector from passage_vectors \
        where workspace_id = $1 and base_id = $2 and model = $3 and dimension = $4";
    let dimension = i64::try_from(query.dimension()).unwrap_or(i64::MAX);
    let mut candidates = candidates.to_vec();
    candidates.sort_unstable();
    let (mut nearest, mut embedded) = (NearestNeighbors::new(limit), Vec::new());
    on_conn!(conn, |c| {
        let scan =
            sqlx::query_as::<_, (i64, Vec<u8>)>(SCAN).bind(workspace).bind(base).bind(model).bind(dimension);
        let mut rows = scan.fetch(c);
        while let Some((number, vector)) = rows.try_next().await? {
            if let Some(cosine) = query.cosine(&vector) {
                nearest.push(number, cosine);
            }
            if candidates.binary_search(&number).is_ok() {
                embedded.push(number);
            }
        }
    });
    embedded.sort_unstable();
    Ok(NearestPassages { ranked: nearest.into_ranked(), embedded })
}
