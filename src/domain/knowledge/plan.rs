//! Which passages the store's engine is asked for: those with the query's rarest words first, and never many.
//!
//! A common word (`account`, in the documents of a bank) would bring half of the base. So the rare words that
//! together bring few enough passages are asked for whole; of the common ones, those passages first that have two.

/// How many passages one tier may bring.
pub const MAX_CANDIDATES: usize = 200;
/// How many words of a query count.
const MAX_TERMS: usize = 32;

/// Passages that are asked for, at most [`MAX_CANDIDATES`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Tier {
    /// With any of these words.
    Any(Vec<String>),
    /// With all of these words.
    All(Vec<String>),
}

/// What to ask for, given in how many passages each word of the query is. Empty: nothing can be found.
#[must_use]
pub fn plan(mut terms: Vec<(String, i64)>) -> Vec<Tier> {
    terms.retain(|(_, passages)| *passages > 0);
    terms.sort_by(|(a, in_a), (b, in_b)| in_a.cmp(in_b).then_with(|| a.cmp(b)));
    terms.truncate(MAX_TERMS);
    let most = i64::try_from(MAX_CANDIDATES).unwrap_or(i64::MAX);
    let mut brought: i64 = 0;
    let rare = terms.iter().take_while(|(_, passages)| {
        brought = brought.saturating_add(*passages);
        brought <= most
    });
    let rare = rare.count();
    let names =
        |terms: &[(String, i64)]| -> Vec<String> { terms.iter().map(|(term, _)| term.clone()).collect() };
    let (rare, common) =
        (names(terms.get(..rare).unwrap_or_default()), names(terms.get(rare..).unwrap_or_default()));
    let mut tiers = Vec::new();
    if !rare.is_empty() {
        tiers.push(Tier::Any(rare));
    }
    if common.len() >= 2 {
        tiers.push(Tier::All(common.iter().take(2).cloned().collect()));
    }
    if !common.is_empty() {
        tiers.push(Tier::Any(common));
    }
    tiers
}

#[cfg(test)]
mod tests {
    use super::*;

    fn planned(terms: &[(&str, i64)]) -> Vec<Tier> {
        plan(terms.iter().map(|(term, passages)| ((*term).to_owned(), *passages)).collect())
    }

    fn words(words: &[&str]) -> Vec<String> {
        words.iter().map(|word| (*word).to_owned()).collect()
    }

    #[test]
    fn words_that_bring_few_passages_are_asked_for_at_once() {
        assert_eq!(planned(&[("b", 40), ("a", 3), ("none", 0)]), [Tier::Any(words(&["a", "b"]))]);
        assert_eq!(planned(&[("none", 0)]), []);
        assert_eq!(planned(&[]), []);
    }

    #[test]
    fn common_words_never_crowd_out_the_rare_ones() {
        assert_eq!(
            planned(&[("the", 9000), ("account", 5000), ("fee", 60), ("escrow", 2)]),
            [
                Tier::Any(words(&["escrow", "fee"])),
                Tier::All(words(&["account", "the"])),
                Tier::Any(words(&["account", "the"])),
            ]
        );
        assert_eq!(planned(&[("account", 5000)]), [Tier::Any(words(&["account"]))]);
    }
}
