//! Reciprocal rank fusion of two rankings: scores of words and of vectors have no common scale, but their ranks do.
//! After Cormack, Clarke and Buettcher, "Reciprocal rank fusion outperforms Condorcet and individual rank learning
//! methods" (SIGIR 2009), with their k.
#![expect(clippy::float_arithmetic, reason = "ranks are weighed, nothing is accounted for")]

use std::collections::BTreeMap;

/// The constant k: larger values weaken the first ranks.
const K: f64 = 60.0;

/// Fuses a ranking by words with one by vectors, both best first, into one with scores, best first.
///
/// `has_vector` says whether a passage could be in the second ranking. A passage that is not embedded yet counts
/// twice with its rank by words: otherwise new passages would rank behind all embedded ones.
pub fn reciprocal_rank_fusion<T: Ord + Clone>(
    by_words: &[T],
    by_vectors: &[T],
    has_vector: impl Fn(&T) -> bool,
) -> Vec<(T, f64)> {
    let mut scores: BTreeMap<&T, f64> = BTreeMap::new();
    for (key, reciprocal_rank) in by_words.iter().zip(reciprocal_ranks()) {
        let weight = if has_vector(key) { 1.0 } else { 2.0 };
        *scores.entry(key).or_default() += reciprocal_rank * weight;
    }
    for (key, reciprocal_rank) in by_vectors.iter().zip(reciprocal_ranks()) {
        *scores.entry(key).or_default() += reciprocal_rank;
    }
    let mut fused: Vec<(T, f64)> = scores.into_iter().map(|(key, score)| (key.clone(), score)).collect();
    // Stable: of equal scores the lower key comes first.
    fused.sort_by(|(_, left), (_, right)| right.total_cmp(left));
    fused
}

/// The score of a rank.
fn reciprocal_ranks() -> impl Iterator<Item = f64> {
    (1_u32..).map(|rank| 1.0 / (K + f64::from(rank)))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn keys(fused: Vec<(char, f64)>) -> String {
        fused.into_iter().map(|(key, _)| key).collect()
    }

    #[test]
    fn a_key_ranked_well_by_both_comes_before_one_ranked_first_by_one() {
        assert_eq!(keys(reciprocal_rank_fusion(&['a', 'b', 'c'], &['d', 'b', 'e'], |_| true)), "badce");
    }

    #[test]
    fn a_single_ranking_is_unchanged() {
        assert_eq!(keys(reciprocal_rank_fusion(&['c', 'a', 'b'], &[], |_| false)), "cab");
        assert_eq!(keys(reciprocal_rank_fusion(&[], &['c', 'a', 'b'], |_| true)), "cab");
        assert!(reciprocal_rank_fusion::<char>(&[], &[], |_| true).is_empty());
    }

    #[test]
    fn a_passage_without_a_vector_competes_by_its_words() {
        // `n` is new: first by words, and without a vector.
        let fused = reciprocal_rank_fusion(&['n', 'a', 'b'], &['a', 'b'], |key| *key != 'n');

        assert_eq!(keys(fused), "nab");
    }

    proptest! {
        #[test]
        fn every_key_appears_exactly_once(
            words in Just((0_u8..40).collect::<Vec<_>>()).prop_shuffle(), vectors in Just((20_u8..60).collect::<Vec<_>>()).prop_shuffle()
        ) {
            let mut fused: Vec<u8> = reciprocal_rank_fusion(&words, &vectors, |key| *key >= 20).into_iter().map(|(key, _)| key).collect();
            fused.sort_unstable();

            prop_assert_eq!(fused, (0_u8..60).collect::<Vec<_>>());
        }
    }
}
