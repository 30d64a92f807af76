//! Ranks passages with BM25 over the terms of title, heading and text, identically for both databases.
#![expect(clippy::float_arithmetic, reason = "scores only order passages; no money is computed")]

use std::collections::HashMap;

use crate::domain::ids::DocumentId;

/// The BM25 parameters: `K1` for term frequency saturation, `B` for length normalization.
const K1: f64 = 1.2;
const B: f64 = 0.75;
/// The weight of a word in the title, the heading and the text.
const FIELD_WEIGHTS: [f64; 3] = [3.0, 2.0, 1.0];

/// A passage that contains at least one of the terms.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// Ascending in the order of insertion.
    pub number: i64,
    pub document: DocumentId,
    pub document_slug: String,
    /// The title of the document.
    pub title: String,
    pub url: Option<String>,
    /// `Returns > Refunds`. Empty if there is none.
    pub heading: String,
    pub text: String,
    /// The terms of title, heading and text, with `/` between the three.
    pub words: String,
}

/// Statistics of the whole knowledge base.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Corpus {
    pub passages: i64,
    /// Total number of terms in all passages.
    pub words: i64,
    /// The number of passages that contain each term of the query.
    pub terms: Vec<(String, i64)>,
}

/// A passage that was found.
#[derive(Clone, Debug, PartialEq)]
pub struct Hit {
    pub passage: Candidate,
    /// Higher is better; comparable within one search only.
    pub score: f64,
}

/// The best `limit` candidates, best first. Equal scores are ordered by insertion.
#[must_use]
pub fn rank(candidates: Vec<Candidate>, corpus: &Corpus, limit: usize) -> Vec<Hit> {
    let weights: HashMap<&str, f64> = corpus
        .terms
        .iter()
        .map(|(term, passages)| (term.as_str(), idf(*passages, corpus.passages)))
        .collect();
    let average_length = (float(corpus.words) / float(corpus.passages.max(1))).max(1.0);
    let score = |candidate: Candidate| {
        let score = score(&candidate.words, &weights, average_length);
        Hit { passage: candidate, score }
    };
    let mut hits: Vec<Hit> = candidates.into_iter().map(score).filter(|hit| hit.score > 0.0).collect();
    hits.sort_by(|a, b| b.score.total_cmp(&a.score).then_with(|| a.passage.number.cmp(&b.passage.number)));
    hits.dedup_by_key(|hit| hit.passage.number);
    hits.truncate(limit);
    hits
}

fn score(words: &str, weights: &HashMap<&str, f64>, average_length: f64) -> f64 {
    let mut found: HashMap<&str, f64> = HashMap::new();
    let mut length = 0.0;
    let mut fields = FIELD_WEIGHTS.iter();
    let mut field = fields.next().copied().unwrap_or(1.0);
    for word in words.split(' ') {
        if word == "/" {
            field = fields.next().copied().unwrap_or(1.0);
            continue;
        }
        length += 1.0;
        if let Some((word, _)) = weights.get_key_value(word) {
            *found.entry(word).or_insert(0.0) += field;
        }
    }
    let normalization = K1 * (1.0 - B + B * length / average_length);
    // Sorted, because the result of a floating-point sum depends on the order.
    let mut parts: Vec<(&str, f64)> = found.into_iter().collect();
    parts.sort_by_key(|(word, _)| *word);
    let part = |(word, times): (&str, f64)| {
        weights.get(word).copied().unwrap_or(0.0) * times * (K1 + 1.0) / (times + normalization)
    };
    parts.into_iter().map(part).sum()
}

/// The inverse document frequency; never negative.
fn idf(passages: i64, total: i64) -> f64 {
    let (passages, total) = (float(passages), float(total.max(passages)));
    (1.0 + (total - passages + 0.5) / (passages + 0.5)).ln()
}

/// Exact up to 2^53.
fn float(count: i64) -> f64 {
    let [high, low] = [count >> 32, count & i64::from(u32::MAX)];
    let high = f64::from(i32::try_from(high).unwrap_or(i32::MAX));
    high * 4_294_967_296.0 + f64::from(u32::try_from(low).unwrap_or(u32::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn candidate(number: i64, words: &str) -> Candidate {
        Candidate {
            number,
            document: DocumentId(uuid::Uuid::from_u128(1)),
            document_slug: "d".to_owned(),
            title: String::new(),
            url: None,
            heading: String::new(),
            text: String::new(),
            words: words.to_owned(),
        }
    }

    fn order(candidates: &[(i64, &str)], terms: &[(&str, i64)]) -> Vec<i64> {
        let candidates = candidates.iter().map(|(number, words)| candidate(*number, words)).collect();
        let terms = terms.iter().map(|(term, passages)| ((*term).to_owned(), *passages)).collect();
        let corpus = Corpus { passages: 100, words: 500, terms };
        rank(candidates, &corpus, 10).into_iter().map(|hit| hit.passage.number).collect()
    }

    #[test]
    fn rare_terms_titles_headings_and_short_passages_rank_higher() {
        let terms = [("fee", 5), ("account", 80)];
        assert_eq!(order(&[(1, "t / h / account b"), (2, "t / h / fee b")], &terms), [2, 1]);
        assert_eq!(
            order(&[(1, "t / h / fee b"), (2, "t / fee / b b"), (3, "fee / h / b b")], &terms),
            [3, 2, 1]
        );
        assert_eq!(order(&[(1, "t / h / fee b b b b b b b b"), (2, "t / h / fee b")], &terms), [2, 1]);
    }

    #[test]
    fn counts_above_32_bits_convert_exactly() {
        for (count, expected) in [(0, 0.0), (7, 7.0), (4_294_967_295, 4_294_967_295.0), (5_000_000_000, 5e9)]
        {
            assert!((float(count) - expected).abs() < 0.5, "{count}: {}", float(count));
        }
    }

    #[test]
    fn equal_scores_keep_their_order_and_candidates_without_a_term_are_omitted() {
        let terms = [("fee", 5)];
        assert_eq!(
            order(&[(2, "t / / fee"), (1, "t / / fee"), (2, "t / / fee"), (3, "t / / b")], &terms),
            [1, 2]
        );
    }
}
