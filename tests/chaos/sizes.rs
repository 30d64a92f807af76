//! How much is done: little by default, for every run of the tests; what the variables say in `scripts/chaos`.

/// A number of the environment.
pub fn size(variable: &str, usual: usize) -> usize {
    std::env::var(variable).ok().map_or(usual, |text| text.parse().expect("a number"))
}

/// What all choices of a test follow from; printed, so that `CHAOS_SEED` repeats them.
pub fn seed(test: &str) -> u64 {
    let seed =
        std::env::var("CHAOS_SEED").ok().map_or_else(rand::random, |text| text.parse().expect("a seed"));
    println!("{test}: CHAOS_SEED={seed}");
    seed
}
