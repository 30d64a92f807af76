//! The sizes of the tests: small by default, larger with the variables that `scripts/chaos` sets.

/// Reads a number from the environment.
pub fn size(variable: &str, default: usize) -> usize {
    std::env::var(variable).ok().map_or(default, |text| text.parse().expect("a number"))
}

/// The seed of a test's random choices; printed, so that `CHAOS_SEED` can repeat them.
pub fn seed(test: &str) -> u64 {
    let seed =
        std::env::var("CHAOS_SEED").ok().map_or_else(rand::random, |text| text.parse().expect("a seed"));
    println!("{test}: CHAOS_SEED={seed}");
    seed
}
