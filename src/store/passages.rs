//! Passages, the words that they are found by, and in how many each word is.
//!
//! `words` is what either engine has: on PostgreSQL a `tsvector` column made of it, with a GIN index; on SQLite an
//! FTS5 table that triggers keep. Both hold its words exactly as they are, the base's own (`scope_term`) among them,
//! and both are asked with an expression that is built here: nothing that a client sent is read as an operator.

use std::collections::BTreeMap;

use sqlx::QueryBuilder;

use super::{Conn, StoreError, on_conn};
use crate::domain::ids::{DocumentId, KnowledgeBaseId, WorkspaceId};
use crate::domain::knowledge::{
    Base, Candidate, MAX_CANDIDATES, ReadyPassage, Tier, count_terms, scope_term,
};

/// Rows of one statement, so that none takes long.
const PORTION: usize = 500;

/// Gives a document of a locked base these passages in place of those that it has, and keeps the counts of words.
pub(super) async fn replace(
    mut conn: Conn<'_>,
    base: &Base,
    document: DocumentId,
    passages: &[ReadyPassage],
) -> Result<(), StoreError> {
    const OLD: &str = "select words from passages where workspace_id = $1 and document_id = $2";
    const REMOVE: &str = "delete from passages where workspace_id = $1 and document_id = $2";
    let scope = scope_term(base.id);
    let old: Vec<(String,)> = on_conn!(conn.reborrow(), |c| {
        sqlx::query_as(OLD).bind(base.workspace).bind(document).fetch_all(c).await?
    });
    let mut changes = count_terms(passages.iter().map(|passage| passage.words.as_str()));
    for (term, count) in count_terms(old.iter().map(|(words,)| words.as_str())) {
        *changes.entry(term).or_insert(0) -= count;
    }
    changes.retain(|term, change| *change != 0 && !term.is_empty() && *term != scope);

    if !old.is_empty() {
        on_conn!(conn.reborrow(), |c| {
            sqlx::query(REMOVE).bind(base.workspace).bind(document).execute(c).await?;
        });
    }
    insert(conn.reborrow(), base, document, passages).await?;
    recount(conn, base, &changes).await
}

async fn insert(
    mut conn: Conn<'_>,
    base: &Base,
    document: DocumentId,
    passages: &[ReadyPassage],
) -> Result<(), StoreError> {
    let scope = scope_term(base.id);
    let numbered: Vec<(i64, &ReadyPassage)> = (0..).zip(passages).collect();
    for rows in numbered.chunks(PORTION) {
        on_conn!(conn.reborrow(), |c| {
            let mut query = QueryBuilder::new(
                "insert into passages (workspace_id, base_id, document_id, position, heading, text, words) ",
            );
            query.push_values(rows, |mut values, (position, passage)| {
                values.push_bind(base.workspace).push_bind(base.id).push_bind(document);
                values.push_bind(*position).push_bind(&passage.heading).push_bind(&passage.text);
                values.push_bind(format!("{scope} {}", passage.words));
            });
            query.build().execute(c).await?;
        });
    }
    Ok(())
}

/// Adds to the counts of a base's words; those that no passage has any more are forgotten.
async fn recount(mut conn: Conn<'_>, base: &Base, changes: &BTreeMap<String, i64>) -> Result<(), StoreError> {
    let changes: Vec<(&String, &i64)> = changes.iter().collect();
    for rows in changes.chunks(PORTION) {
        on_conn!(conn.reborrow(), |c| {
            let mut query = QueryBuilder::new("insert into terms (workspace_id, base_id, term, passages) ");
            query.push_values(rows, |mut values, (term, change)| {
                values.push_bind(base.workspace).push_bind(base.id).push_bind(*term).push_bind(**change);
            });
            query.push(
                " on conflict (workspace_id, base_id, term) \
                 do update set passages = terms.passages + excluded.passages",
            );
            query.build().execute(c).await?;
        });
    }
    let fewer: Vec<&String> =
        changes.iter().filter(|(_, change)| **change < 0).map(|(term, _)| *term).collect();
    for rows in fewer.chunks(PORTION) {
        on_conn!(conn.reborrow(), |c| {
            let mut query = QueryBuilder::new("delete from terms where passages <= 0 and workspace_id = ");
            query.push_bind(base.workspace).push(" and base_id = ").push_bind(base.id);
            query.push(" and term in (");
            let mut list = query.separated(", ");
            for term in rows {
                list.push_bind(*term);
            }
            query.push(")");
            query.build().execute(c).await?;
        });
    }
    Ok(())
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
        query.build_query_as().fetch_all(c).await?
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

/// The passages of the base that the tiers ask for, each once, in order of writing. One statement, so it sees each
/// document as it was before a replacement or as it is after.
pub async fn candidates(
    conn: Conn<'_>,
    workspace: WorkspaceId,
    base: KnowledgeBaseId,
    tiers: &[Tier],
) -> Result<Vec<Candidate>, StoreError> {
    if tiers.is_empty() {
        return Ok(Vec::new());
    }
    let scope = scope_term(base);
    let expressions: Vec<String> = match &conn {
        Conn::Postgres(_) => tiers.iter().map(|tier| tsquery(&scope, tier)).collect(),
        Conn::Sqlite(_) => tiers.iter().map(|tier| fts5(&scope, tier)).collect(),
    };
    // `offset 0`: PostgreSQL must not walk all passages in order of number until it has met enough that match.
    let matching = conn.pick(
        "select number from (select number from passages where search @@ cast(",
        "select rowid as number from passage_search where passage_search match (",
    );
    let matched = conn.pick(" as tsquery) offset 0) m order by number limit ", ") order by rowid limit ");
    let most = i64::try_from(MAX_CANDIDATES).unwrap_or(i64::MAX);
    let rows: Vec<CandidateRow> = on_conn!(conn, |c| {
        let mut query = QueryBuilder::new(CANDIDATES);
        query.push_bind(workspace).push(" and p.base_id = ").push_bind(base).push(" and number in (");
        for (index, expression) in expressions.iter().enumerate() {
            query.push(if index > 0 { " union select number from (" } else { "select number from (" });
            query.push(matching).push_bind(expression).push(matched).push_bind(most).push(") t");
            query.push(index);
        }
        query.push(") order by number");
        query.build_query_as().fetch_all(c).await?
    });
    Ok(rows.into_iter().map(Candidate::from).collect())
}

/// The passages of the base with these numbers, in order of writing; those that are there.
pub async fn numbered(
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
        query.build_query_as().fetch_all(c).await?
    });
    Ok(rows.into_iter().map(Candidate::from).collect())
}

/// Words have only letters and digits (`domain::knowledge::document_terms`), so quotes hold them.
fn tsquery(scope: &str, tier: &Tier) -> String {
    expression(scope, tier, '\'', [" & ", " | "])
}

fn fts5(scope: &str, tier: &Tier) -> String {
    expression(scope, tier, '"', [" AND ", " OR "])
}

fn expression(scope: &str, tier: &Tier, quote: char, [and, or]: [&str; 2]) -> String {
    let (terms, between) = match tier {
        Tier::Any(terms) => (terms, or),
        Tier::All(terms) => (terms, and),
    };
    let quoted: Vec<String> = terms.iter().map(|term| format!("{quote}{term}{quote}")).collect();
    format!("{quote}{scope}{quote}{and}({})", quoted.join(between))
}

/// The headings and texts of a document's passages, in order.
pub async fn of_document(
    conn: Conn<'_>,
    workspace: WorkspaceId,
    document: DocumentId,
) -> Result<Vec<(String, String)>, StoreError> {
    const LIST: &str = "select heading, text from passages \
        where workspace_id = $1 and document_id = $2 order by position";
    Ok(on_conn!(conn, |c| sqlx::query_as(LIST).bind(workspace).bind(document).fetch_all(c).await?))
}
