//! Two rankings made one, by reciprocal ranks: scores of words and of vectors have no common scale, their ranks have.
//! After Cormack, Clarke and Buettcher, "Reciprocal rank fusion outperforms Condorcet and individual rank learning methods"
//! (SIGIR 2009), with their k.
#![expect(clippy::float_arithmetic, reason = "ranks are weighed, nothing is accounted for")]

use std::collections::BTreeMap;

/// How little the first ranks stand out.
const K: f64 = 60.0;

/// Fuses a ranking by words with one by vectors, both best first; the best of the result first, with its score.
///
/// `has_vector` says whether a passage could be in the second at all. One that could not (it is not embedded yet) counts
/// with its rank by words twice: else what was just added would stand behind all that is embedded.
pub fn fuse<T: Ord + Clone>(
    by_words: &[T],
    by_vectors: &[T],
    has_vector: impl Fn(&T) -> bool,
) -> Vec<(T, f64)> {
    let mut scores: BTreeMap<&T, f64> = BTreeMap::new();
    for (key, share) in by_words.iter().zip(shares()) {
        let times = if has_vector(key) { 1.0 } else { 2.0 };
        *scores.entry(key).or_default() += share * times;
    }
    for (key, share) in by_vectors.iter().zip(shares()) {
        *scores.entry(key).or_default() += share;
    }
    let mut fused: Vec<(T, f64)> = scores.into_iter().map(|(key, score)| (key.clone(), score)).collect();
    // Stable: of two with one score the lower key comes first.
    fused.sort_by(|(_, left), (_, right)| right.total_cmp(left));
    fused
}

/// What the first, second, … rank is worth.
fn shares() -> impl Iterator<Item = f64> {
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
    fn what_both_rank_well_comes_before_what_one_ranks_first() {
        assert_eq!(keys(fuse(&['a', 'b', 'c'], &['d', 'b', 'e'], |_| true)), "badce");
    }

    #[test]
    fn one_ranking_alone_is_kept_as_it_is() {
        assert_eq!(keys(fuse(&['c', 'a', 'b'], &[], |_| false)), "cab");
        assert_eq!(keys(fuse(&[], &['c', 'a', 'b'], |_| true)), "cab");
        assert!(fuse::<char>(&[], &[], |_| true).is_empty());
    }

    #[test]
    fn what_is_not_embedded_competes_by_its_words() {
        // `n` is new: first by words, and no vector can speak for it.
        let fused = fuse(&['n', 'a', 'b'], &['a', 'b'], |key| *key != 'n');

        assert_eq!(keys(fused), "nab");
    }

    proptest! {
        #[test]
        fn nothing_is_lost_and_nothing_comes_twice(
            words in Just((0_u8..40).collect::<Vec<_>>()).prop_shuffle(), vectors in Just((20_u8..60).collect::<Vec<_>>()).prop_shuffle()
        ) {
            let mut fused: Vec<u8> = fuse(&words, &vectors, |key| *key >= 20).into_iter().map(|(key, _)| key).collect();
            fused.sort_unstable();

            prop_assert_eq!(fused, (0_u8..60).collect::<Vec<_>>());
        }
    }
}
