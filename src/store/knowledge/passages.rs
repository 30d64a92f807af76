//! Passages, the words they are found by, and the number of passages that contain each word.
//!
//! Full-text search runs over the column `words`: on PostgreSQL through a generated `tsvector` column with a GIN index, on
//! SQLite through an FTS5 table that triggers maintain. Both index the words exactly as they are, the base's `scope_term`
//! included. The search expressions are built here from words only, so nothing a client sends is read as an operator.

use std::collections::BTreeMap;

use sqlx::QueryBuilder;

use crate::domain::ids::{DocumentId, KnowledgeBaseId, WorkspaceId};
use crate::domain::knowledge::{
    Candidate, CandidateQuery, KnowledgeBase, MAX_CANDIDATES, PreparedPassage, count_terms, scope_term,
    searchable_words,
};
use crate::store::{Conn, StoreError, from_row, on_conn};

/// Rows of one statement. Bounds its run time.
const ROWS_PER_STATEMENT: usize = 500;
/// Terms of one statement. Bounds its run time.
const TERMS_PER_STATEMENT: usize = 20_000;

/// Changes of a base's counts, accumulated while several of its documents are written: most terms occur in many of them.
#[derive(Debug, Default)]
pub struct CountChanges {
    pub passages: i64,
    pub words: i64,
    terms: BTreeMap<String, i64>,
}

/// Replaces the passages of a document of a locked base, and adds the changes of the counts to `changes`.
pub async fn replace(
    mut conn: Conn<'_>,
    base: &KnowledgeBase,
    document: DocumentId,
    passages: &[PreparedPassage],
    changes: &mut CountChanges,
) -> Result<(), StoreError> {
    const OLD: &str = "select position, words from passages where workspace_id = $1 and document_id = $2";
    const REMOVE: &str = "delete from passages where workspace_id = $1 and document_id = $2";
    let old: Vec<(i64, String)> = on_conn!(conn.reborrow(), |c| {
        sqlx::query_as(OLD).bind(base.workspace).bind(document).fetch_all(c).await?
    });
    let old = old.iter().map(|(position, words)| searchable_words(*position, words));
    let new = (0..).zip(passages).map(|(position, passage)| searchable_words(position, &passage.words));
    let (old, new) = (count_terms(old), count_terms(new));
    let existed = !old.is_empty();
    for (term, count) in new {
        *changes.terms.entry(term).or_insert(0) += count;
    }
    for (term, count) in old {
        *changes.terms.entry(term).or_insert(0) -= count;
    }
    if existed {
        on_conn!(conn.reborrow(), |c| {
            sqlx::query(REMOVE).bind(base.workspace).bind(document).execute(c).await?;
        });
    }
    insert(conn, base, document, passages).await
}

async fn insert(
    mut conn: Conn<'_>,
    base: &KnowledgeBase,
    document: DocumentId,
    passages: &[PreparedPassage],
) -> Result<(), StoreError> {
    let scope = scope_term(base.id);
    let numbered: Vec<(i64, &PreparedPassage)> = (0..).zip(passages).collect();
    for rows in numbered.chunks(ROWS_PER_STATEMENT) {
        on_conn!(conn.reborrow(), |c| {
            let mut query = QueryBuilder::new(
                "insert into passages (workspace_id, base_id, document_id, position, heading, text, words) ",
            );
            query.push_values(rows, |mut values, (position, passage)| {
                values.push_bind(base.workspace).push_bind(base.id).push_bind(document);
                values.push_bind(*position).push_bind(&passage.heading).push_bind(&passage.text);
                values.push_bind(format!("{scope} {}", passage.words));
            });
            query.build().persistent(false).execute(c).await?;
        });
    }
    Ok(())
}

/// Applies changes to the counts of a locked base. Terms that no passage contains any more are deleted.
pub async fn recount(
    mut conn: Conn<'_>,
    base: &KnowledgeBase,
    mut changes: CountChanges,
) -> Result<(), StoreError> {
    const RESIZE: &str = "update knowledge_bases set passages = passages + $1, words = words + $2 \
        where workspace_id = $3 and id = $4";
    // All terms are bound as one JSON value. `where true`: otherwise SQLite would parse `on` as part of a join.
    const ADD: [&str; 2] = [
        "insert into terms (workspace_id, base_id, term, passages) select $1, $2, key, cast(value as bigint) \
            from json_each_text(cast($3 as json)) where true on conflict (workspace_id, base_id, term) \
            do update set passages = terms.passages + excluded.passages",
        "insert into terms (workspace_id, base_id, term, passages) select $1, $2, key, cast(value as bigint) \
            from json_each($3) where true on conflict (workspace_id, base_id, term) \
            do update set passages = terms.passages + excluded.passages",
    ];
    on_conn!(conn.reborrow(), |c| {
        let query = sqlx::query(RESIZE).bind(changes.passages).bind(changes.words);
        query.bind(base.workspace).bind(base.id).execute(c).await?;
    });
    let scope = scope_term(base.id);
    changes.terms.retain(|term, change| *change != 0 && !term.is_empty() && *term != scope);
    let changes: Vec<(&str, i64)> =
        changes.terms.iter().map(|(term, change)| (term.as_str(), *change)).collect();
    let add = conn.pick(ADD[0], ADD[1]);
    for rows in changes.chunks(TERMS_PER_STATEMENT) {
        let rows = json_object(rows);
        on_conn!(conn.reborrow(), |c| {
            sqlx::query(add).bind(base.workspace).bind(base.id).bind(&rows).execute(c).await?;
        });
    }
    let decreased: Vec<(&str, i64)> = changes.iter().filter(|(_, change)| *change < 0).copied().collect();
    for rows in decreased.chunks(TERMS_PER_STATEMENT) {
        delete_unused_terms(conn.reborrow(), base, rows).await?;
    }
    Ok(())
}

/// Deletes the terms among these that no passage contains any more.
async fn delete_unused_terms(
    conn: Conn<'_>,
    base: &KnowledgeBase,
    rows: &[(&str, i64)],
) -> Result<(), StoreError> {
    const POSTGRES: &str =
        "delete from terms where passages <= 0 and workspace_id = $1 and base_id = $2 and term = any($3)";
    const SQLITE: &str = "delete from terms where passages <= 0 and workspace_id = $1 and base_id = $2 \
        and term in (select key from json_each($3))";
    match conn {
        // An array, and a new plan each time: without table statistics PostgreSQL would scan any other list once for
        // each term of the base.
        Conn::Postgres(c) => {
            let terms: Vec<&str> = rows.iter().map(|(term, _)| *term).collect();
            let query = sqlx::query(POSTGRES).bind(base.workspace).bind(base.id).bind(terms);
            query.persistent(false).execute(c).await?;
        }
        Conn::Sqlite(c) => {
            let query = sqlx::query(SQLITE).bind(base.workspace).bind(base.id).bind(json_object(rows));
            query.execute(c).await?;
        }
    }
    Ok(())
}

/// A JSON object of terms and numbers.
fn json_object(rows: &[(&str, i64)]) -> String {
    let rows = rows.iter().map(|(term, number)| ((*term).to_owned(), (*number).into()));
    serde_json::Value::Object(rows.collect()).to_string()
}

/// The number of passages of the base that contain each term, rarest first. Terms without passages are left out.
pub async fn frequencies(
    conn: Conn<'_>,
    workspace: WorkspaceId,
    base: KnowledgeBaseId,
    terms: &[String],
) -> Result<Vec<(String, i64)>, StoreError> {
    if terms.is_empty() {
        return Ok(Vec::new());
    }
    Ok(on_conn!(conn, |c| {
        let mut query = QueryBuilder::new("select term, passages from terms where workspace_id = ");
        query.push_bind(workspace).push(" and base_id = ").push_bind(base).push(" and term in (");
        let mut list = query.separated(", ");
        for term in terms {
            list.push_bind(term);
        }
        query.push(") order by passages, term");
        query.build_query_as().persistent(false).fetch_all(c).await?
    }))
}

const CANDIDATES: &str = "select number, document_id, slug, title, url, heading, p.text, p.words from passages p \
    join documents d on d.workspace_id = p.workspace_id and d.id = p.document_id where p.workspace_id = ";

from_row!(Candidate, |row| Self {
    number: row.try_get("number")?,
    document: row.try_get("document_id")?,
    document_slug: row.try_get("slug")?,
    title: row.try_get("title")?,
    url: row.try_get("url")?,
    heading: row.try_get("heading")?,
    text: row.try_get("text")?,
    words: row.try_get("words")?,
});

/// The passages of the base that match any of the queries, each once, in the order of their numbers. The queries derive
/// from [`frequencies`]. Both reads need one snapshot; otherwise a document that is replaced in between may be missed.
pub async fn candidates(
    conn: Conn<'_>,
    workspace: WorkspaceId,
    base: KnowledgeBaseId,
    queries: &[CandidateQuery],
) -> Result<Vec<Candidate>, StoreError> {
    if queries.is_empty() {
        return Ok(Vec::new());
    }
    let scope = scope_term(base);
    let expressions: Vec<String> = match &conn {
        Conn::Postgres(_) => queries.iter().map(|query| tsquery(&scope, query)).collect(),
        Conn::Sqlite(_) => queries.iter().map(|query| fts5(&scope, query)).collect(),
    };
    // `offset 0` stops PostgreSQL from scanning all passages in the order of numbers until enough of them match.
    let match_prefix = conn.pick(
        "select number from (select number from passages where search @@ cast(",
        "select rowid as number from passage_search where passage_search match (",
    );
    let match_suffix =
        conn.pick(" as tsquery) offset 0) m order by number limit ", ") order by rowid limit ");
    let limit = i64::try_from(MAX_CANDIDATES).unwrap_or(i64::MAX);
    Ok(on_conn!(conn, |c| {
        let mut query = QueryBuilder::new(CANDIDATES);
        query.push_bind(workspace).push(" and p.base_id = ").push_bind(base).push(" and number in (");
        for (index, expression) in expressions.iter().enumerate() {
            query.push(if index > 0 { " union select number from (" } else { "select number from (" });
            query.push(match_prefix).push_bind(expression).push(match_suffix).push_bind(limit).push(") t");
            query.push(index);
        }
        query.push(") order by number");
        query.build_query_as().persistent(false).fetch_all(c).await?
    }))
}

/// The passages of the base with these numbers, in order. Unknown numbers are left out.
pub async fn find_by_numbers(
    conn: Conn<'_>,
    workspace: WorkspaceId,
    base: KnowledgeBaseId,
    numbers: &[i64],
) -> Result<Vec<Candidate>, StoreError> {
    if numbers.is_empty() {
        return Ok(Vec::new());
    }
    Ok(on_conn!(conn, |c| {
        let mut query = QueryBuilder::new(CANDIDATES);
        query.push_bind(workspace).push(" and p.base_id = ").push_bind(base).push(" and number in (");
        let mut list = query.separated(", ");
        for number in numbers {
            list.push_bind(number);
        }
        query.push(") order by number");
        query.build_query_as().persistent(false).fetch_all(c).await?
    }))
}

/// Terms consist of letters and digits (`domain::knowledge::document_terms`), so quoting them is safe.
fn tsquery(scope: &str, query: &CandidateQuery) -> String {
    expression(scope, query, '\'', [" & ", " | "])
}

fn fts5(scope: &str, query: &CandidateQuery) -> String {
    expression(scope, query, '"', [" AND ", " OR "])
}

fn expression(scope: &str, query: &CandidateQuery, quote: char, [and, or]: [&str; 2]) -> String {
    let (terms, separator) = match query {
        CandidateQuery::Any(terms) => (terms, or),
        CandidateQuery::All(terms) => (terms, and),
    };
    let quoted: Vec<String> = terms.iter().map(|term| format!("{quote}{term}{quote}")).collect();
    format!("{quote}{scope}{quote}{and}({})", quoted.join(separator))
}
