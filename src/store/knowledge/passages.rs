//! Passages, the words that they are found by, and in how many each word is.
//!
//! `words` is what either engine has: on PostgreSQL a `tsvector` column made of it, with a GIN index; on SQLite an
//! FTS5 table that triggers keep. Both hold its words exactly as they are, the base's own (`scope_term`) among them,
//! and both are asked with an expression that is built here: nothing that a client sent is read as an operator.

use std::collections::BTreeMap;

use sqlx::QueryBuilder;

use crate::domain::ids::{DocumentId, KnowledgeBaseId, WorkspaceId};
use crate::domain::knowledge::{
    Candidate, CandidateQuery, KnowledgeBase, MAX_CANDIDATES, PreparedPassage, count_terms, scope_term,
    searchable_words,
};
use crate::store::{Conn, StoreError, on_conn};

/// Rows of one statement, so that none takes long.
const ROWS_PER_STATEMENT: usize = 500;
/// Words that one statement counts, likewise.
const TERMS_PER_STATEMENT: usize = 20_000;

/// By how much the counts of a base change: kept apart while several of its documents are written, for most words are
/// in many of them.
#[derive(Debug, Default)]
pub struct CountChanges {
    pub passages: i64,
    pub words: i64,
    terms: BTreeMap<String, i64>,
}

/// Gives a document of a locked base these passages in place of those that it has, and notes how the counts of words
/// change.
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

/// Adds to the counts of a locked base; words that no passage has any more are forgotten.
pub async fn recount(
    mut conn: Conn<'_>,
    base: &KnowledgeBase,
    mut changes: CountChanges,
) -> Result<(), StoreError> {
    const RESIZE: &str = "update knowledge_bases set passages = passages + $1, words = words + $2 \
        where workspace_id = $3 and id = $4";
    // One value, however many words there are. `where true`: else SQLite would read `on` as that of a join.
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

/// Forgets those of the words that no passage has any more.
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
        // An array, and planned anew each time: where it knows little of the table, PostgreSQL looks through any other
        // list once for each word of the base.
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

/// Words and numbers as JSON.
fn json_object(rows: &[(&str, i64)]) -> String {
    let rows = rows.iter().map(|(term, number)| ((*term).to_owned(), (*number).into()));
    serde_json::Value::Object(rows.collect()).to_string()
}

/// In how many passages of the base each of the words is; those in none are left out.
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

#[derive(sqlx::FromRow)]
struct CandidateRow {
    number: i64,
    document_id: DocumentId,
    slug: String,
    title: String,
    url: Option<String>,
    heading: String,
    text: String,
    words: String,
}

impl From<CandidateRow> for Candidate {
    fn from(row: CandidateRow) -> Self {
        Self {
            number: row.number,
            document: row.document_id,
            document_slug: row.slug,
            title: row.title,
            url: row.url,
            heading: row.heading,
            text: row.text,
            words: row.words,
        }
    }
}

/// The passages of the base that the tiers ask for, each once, in order of writing. Tiers are planned by
/// [`frequencies`]: both belong into one snapshot, or a replaced document may be missed as it was and as it is.
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
    // `offset 0`: PostgreSQL must not walk all passages in order of number until it has met enough that match.
    let match_prefix = conn.pick(
        "select number from (select number from passages where search @@ cast(",
        "select rowid as number from passage_search where passage_search match (",
    );
    let match_suffix =
        conn.pick(" as tsquery) offset 0) m order by number limit ", ") order by rowid limit ");
    let limit = i64::try_from(MAX_CANDIDATES).unwrap_or(i64::MAX);
    let rows: Vec<CandidateRow> = on_conn!(conn, |c| {
        let mut query = QueryBuilder::new(CANDIDATES);
        query.push_bind(workspace).push(" and p.base_id = ").push_bind(base).push(" and number in (");
        for (index, expression) in expressions.iter().enumerate() {
            query.push(if index > 0 { " union select number from (" } else { "select number from (" });
            query.push(match_prefix).push_bind(expression).push(match_suffix).push_bind(limit).push(") t");
            query.push(index);
        }
        query.push(") order by number");
        query.build_query_as().persistent(false).fetch_all(c).await?
    });
    Ok(rows.into_iter().map(Candidate::from).collect())
}

/// The passages of the base with these numbers, in order of writing; those that are there.
pub async fn find_by_numbers(
    conn: Conn<'_>,
    workspace: WorkspaceId,
    base: KnowledgeBaseId,
    numbers: &[i64],
) -> Result<Vec<Candidate>, StoreError> {
    if numbers.is_empty() {
        return Ok(Vec::new());
    }
    let rows: Vec<CandidateRow> = on_conn!(conn, |c| {
        let mut query = QueryBuilder::new(CANDIDATES);
        query.push_bind(workspace).push(" and p.base_id = ").push_bind(base).push(" and number in (");
        let mut list = query.separated(", ");
        for number in numbers {
            list.push_bind(number);
        }
        query.push(") order by number");
        query.build_query_as().persistent(false).fetch_all(c).await?
    });
    Ok(rows.into_iter().map(Candidate::from).collect())
}

/// Words have only letters and digits (`domain::knowledge::document_terms`), so quotes hold them.
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
