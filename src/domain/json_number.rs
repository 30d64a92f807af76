//! Numbers of JSON, which does not tell integers from others: `4.0` is a whole number.

use serde::de::{Deserialize, Deserializer, Error as _, Unexpected};
use serde_json::Number;

/// The largest magnitude below which every whole number is a double.
const MAX_EXACT: f64 = 9_007_199_254_740_992.0;

/// The value of a whole number.
#[must_use]
pub fn whole(number: &Number) -> Option<i64> {
    if let Some(whole) = number.as_i64() {
        return Some(whole);
    }
    let fractional = number.as_f64().filter(|_| number.is_f64())?;
    if fractional.fract() != 0.0 || fractional.abs() > MAX_EXACT {
        return None;
    }
    // It is written without a fraction, so its text is an integer.
    format!("{fractional:.0}").parse().ok()
}

/// Reads a whole number that is not negative.
///
/// # Errors
/// The value is something else.
pub fn deserialize_size<'de, D: Deserializer<'de>>(deserializer: D) -> Result<usize, D::Error> {
    let number = Number::deserialize(deserializer)?;
    let size = whole(&number).and_then(|whole| usize::try_from(whole).ok());
    size.ok_or_else(|| {
        let unexpected = number.as_f64().map_or(Unexpected::Other("a number"), Unexpected::Float);
        D::Error::invalid_value(unexpected, &"a whole number")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_without_a_fraction_is_whole() {
        let read = |json: &str| whole(&serde_json::from_str(json).unwrap());
        assert_eq!(read("4"), Some(4));
        assert_eq!(read("-4.0"), Some(-4));
        assert_eq!(read("1e3"), Some(1000));
        assert_eq!(read("9223372036854775807"), Some(i64::MAX));
        for other in ["4.5", "1e30", "18446744073709551615"] {
            assert_eq!(read(other), None, "{other}");
        }
    }
}
