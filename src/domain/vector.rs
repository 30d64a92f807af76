//! Vectors of texts: unit length, single precision, compared by cosine, which for unit vectors is the dot product.
//! The search is exact and has no index, because the candidates are restricted beforehand.
#![expect(clippy::float_arithmetic, reason = "vectors are floating point by nature")]

use std::cmp::Ordering;

/// Bytes of one stored number.
const BYTES_PER_NUMBER: usize = size_of::<f32>();

/// Parallel sums: a single one would wait for each addition.
const LANES: usize = 8;

/// A vector of length 1.
#[derive(Clone, Debug, PartialEq)]
pub struct Vector(Vec<f32>);

impl Vector {
    /// Normalizes these numbers; None if there are none, or they are all zero or not finite.
    #[must_use]
    pub fn normalised(mut numbers: Vec<f32>) -> Option<Self> {
        let length = numbers.iter().map(|n| f64::from(*n) * f64::from(*n)).sum::<f64>().sqrt();
        if !length.is_finite() || length <= f64::MIN_POSITIVE {
            return None;
        }
        for number in &mut numbers {
            #[expect(clippy::cast_possible_truncation, reason = "a part of a whole of length 1")]
            let scaled = (f64::from(*number) / length) as f32;
            *number = scaled;
        }
        Some(Self(numbers))
    }

    /// The dimension.
    #[must_use]
    pub fn dimension(&self) -> usize {
        self.0.len()
    }

    /// The stored form: little-endian numbers in order.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        self.0.iter().flat_map(|number| number.to_le_bytes()).collect()
    }

    /// The cosine to a stored vector, from -1 to 1; None if that has another dimension.
    #[must_use]
    pub fn cosine(&self, stored: &[u8]) -> Option<f32> {
        if stored.len() != self.0.len() * BYTES_PER_NUMBER {
            return None;
        }
        let mut sums = [0.0_f32; LANES];
        let (blocks, rest) = self.0.as_chunks::<LANES>();
        let (stored_blocks, stored_rest) = stored.as_chunks::<{ LANES * BYTES_PER_NUMBER }>();
        for (block, bytes) in blocks.iter().zip(stored_blocks) {
            for ((sum, own), other) in sums.iter_mut().zip(block).zip(bytes.as_chunks::<BYTES_PER_NUMBER>().0)
            {
                *sum += own * f32::from_le_bytes(*other);
            }
        }
        let rest = rest.iter().zip(stored_rest.as_chunks::<BYTES_PER_NUMBER>().0);
        let rest: f32 = rest.map(|(own, other)| own * f32::from_le_bytes(*other)).sum();
        Some(sums.iter().sum::<f32>() + rest)
    }
}

/// Collects the nearest vectors up to a limit, so that memory does not grow with the search.
#[derive(Clone, Debug)]
pub struct NearestNeighbors<K> {
    limit: usize,
    /// Nearest first.
    ranked: Vec<(K, f32)>,
}

impl<K: Ord> NearestNeighbors<K> {
    #[must_use]
    pub fn new(limit: usize) -> Self {
        Self { limit, ranked: Vec::with_capacity(limit) }
    }

    /// Adds a vector if it is among the nearest. Of equal ones the lower key wins.
    pub fn push(&mut self, key: K, cosine: f32) {
        let is_nearer = |(other, other_cosine): &(K, f32)| match other_cosine.total_cmp(&cosine) {
            Ordering::Greater => true,
            Ordering::Equal => *other < key,
            Ordering::Less => false,
        };
        let index = self.ranked.partition_point(is_nearer);
        if index >= self.limit {
            return;
        }
        self.ranked.truncate(self.limit - 1);
        self.ranked.insert(index, (key, cosine));
    }

    /// Nearest first.
    #[must_use]
    pub fn into_ranked(self) -> Vec<(K, f32)> {
        self.ranked
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn vector(numbers: &[f32]) -> Vector {
        Vector::normalised(numbers.to_vec()).unwrap()
    }

    #[test]
    fn the_cosine_is_of_directions_alone() {
        let east = vector(&[3.0, 0.0]);

        assert_eq!(east.cosine(&vector(&[0.5, 0.0]).to_bytes()), Some(1.0));
        assert_eq!(east.cosine(&vector(&[0.0, 9.0]).to_bytes()), Some(0.0));
        assert_eq!(east.cosine(&vector(&[-2.0, 0.0]).to_bytes()), Some(-1.0));
        assert_eq!(east.cosine(&vector(&[1.0, 0.0, 0.0]).to_bytes()), None);
        assert_eq!(east.cosine(&[0; 7]), None);
    }

    #[test]
    fn numbers_without_a_direction_are_no_vector() {
        for numbers in [vec![], vec![0.0, 0.0], vec![1.0, f32::NAN], vec![f32::INFINITY, 1.0]] {
            assert_eq!(Vector::normalised(numbers.clone()), None, "{numbers:?}");
        }
        assert_eq!(vector(&[f32::MAX, f32::MAX]).dimension(), 2, "its square is no infinity");
        assert_eq!(vector(&[f32::MIN_POSITIVE]).cosine(&vector(&[1.0]).to_bytes()), Some(1.0));
    }

    #[test]
    fn of_two_as_near_the_lower_key_comes_first() {
        let mut nearest = NearestNeighbors::new(3);
        for (key, cosine) in [(4, 0.5), (2, 0.5), (9, 0.9), (1, 0.1), (3, 0.5)] {
            nearest.push(key, cosine);
        }

        let keys: Vec<i32> = nearest.into_ranked().into_iter().map(|(key, _)| key).collect();

        assert_eq!(keys, [9, 2, 3]);
    }

    proptest! {
        #[test]
        fn the_cosine_is_what_the_textbook_says(
            pairs in proptest::collection::vec((-10.0_f32..10.0, -10.0_f32..10.0), 1..70)
        ) {
            let (left, right): (Vec<f32>, Vec<f32>) = pairs.into_iter().unzip();
            let dot: f64 = left.iter().zip(&right).map(|(l, r)| f64::from(*l) * f64::from(*r)).sum();
            let length = |v: &[f32]| v.iter().map(|n| f64::from(*n).powi(2)).sum::<f64>().sqrt();
            let expected = dot / length(&left) / length(&right);
            prop_assume!(expected.is_finite());

            let cosine = vector(&left).cosine(&vector(&right).to_bytes()).unwrap();

            prop_assert!((f64::from(cosine) - expected).abs() < 1e-4, "{cosine} is not {expected}");
        }

        #[test]
        fn the_nearest_are_those_of_a_full_sort(cosines in proptest::collection::vec(-1.0_f32..1.0, 0..50), limit in 1_usize..10) {
            let mut nearest = NearestNeighbors::new(limit);
            for (key, cosine) in cosines.iter().enumerate() {
                nearest.push(key, *cosine);
            }
            let mut sorted: Vec<(usize, f32)> = cosines.into_iter().enumerate().collect();
            sorted.sort_by(|(_, l), (_, r)| r.total_cmp(l));
            sorted.truncate(limit);

            prop_assert_eq!(nearest.into_ranked(), sorted);
        }
    }
}
