//! Selects the full-text queries that fetch candidate passages. Rare terms come first, and the number of candidates is
//! limited.
//!
//! A common term (such as `account` in the documents of a bank) would match half of the knowledge base. Rare terms that
//! together match at most [`MAX_CANDIDATES`] passages are therefore queried in full. For the common terms, passages that
//! contain the two rarest of them come first.

/// Maximum number of passages of one candidate query.
pub const MAX_CANDIDATES: usize = 200;
/// Maximum number of terms of a query.
const MAX_CANDIDATE_TERMS: usize = 32;

/// A query for at most [`MAX_CANDIDATES`] passages.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CandidateQuery {
    /// Passages with any of these terms.
    Any(Vec<String>),
    /// Passages with all of these terms.
    All(Vec<String>),
}

/// The queries to run, given the number of passages that contain each term. Empty: nothing matches.
#[must_use]
pub fn candidate_queries(mut terms: Vec<(String, i64)>) -> Vec<CandidateQuery> {
    terms.retain(|(_, passages)| *passages > 0);
    terms.sort_by(|(a, in_a), (b, in_b)| in_a.cmp(in_b).then_with(|| a.cmp(b)));
    terms.truncate(MAX_CANDIDATE_TERMS);
    let limit = i64::try_from(MAX_CANDIDATES).unwrap_or(i64::MAX);
    let mut total: i64 = 0;
    let rare = terms.iter().take_while(|(_, passages)| {
        total = total.saturating_add(*passages);
        total <= limit
    });
    let rare = rare.count();
    let names =
        |terms: &[(String, i64)]| -> Vec<String> { terms.iter().map(|(term, _)| term.clone()).collect() };
    let (rare, common) =
        (names(terms.get(..rare).unwrap_or_default()), names(terms.get(rare..).unwrap_or_default()));
    let mut queries = Vec::new();
    if !rare.is_empty() {
        queries.push(CandidateQuery::Any(rare));
    }
    if common.len() >= 2 {
        queries.push(CandidateQuery::All(common.iter().take(2).cloned().collect()));
    }
    if !common.is_empty() {
        queries.push(CandidateQuery::Any(common));
    }
    queries
}

#[cfg(test)]
mod tests {
    use super::*;

    fn queries_for(terms: &[(&str, i64)]) -> Vec<CandidateQuery> {
        candidate_queries(terms.iter().map(|(term, passages)| ((*term).to_owned(), *passages)).collect())
    }

    fn words(words: &[&str]) -> Vec<String> {
        words.iter().map(|word| (*word).to_owned()).collect()
    }

    #[test]
    fn rare_terms_are_combined_in_one_query() {
        assert_eq!(
            queries_for(&[("b", 40), ("a", 3), ("none", 0)]),
            [CandidateQuery::Any(words(&["a", "b"]))]
        );
        assert_eq!(queries_for(&[("none", 0)]), []);
        assert_eq!(queries_for(&[]), []);
    }

    #[test]
    fn common_terms_do_not_crowd_out_rare_ones() {
        assert_eq!(
            queries_for(&[("the", 9000), ("account", 5000), ("fee", 60), ("escrow", 2)]),
            [
                CandidateQuery::Any(words(&["escrow", "fee"])),
                CandidateQuery::All(words(&["account", "the"])),
                CandidateQuery::Any(words(&["account", "the"])),
            ]
        );
        assert_eq!(queries_for(&[("account", 5000)]), [CandidateQuery::Any(words(&["account"]))]);
    }
}
