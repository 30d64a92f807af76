//! Money in integers of a millionth of a dollar, never in floating point.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::string_enum::string_enum;
use super::text::deserialize_text;

/// An amount in millionths of a US dollar; negative for a charge.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Money(pub i64);

/// A text that is not an amount of money.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("an amount is a decimal number with at most six places, such as \"10.00\"")]
pub struct MalformedAmount;

impl Money {
    /// Zero.
    pub const ZERO: Self = Self(0);

    /// The sum, or `None` on overflow.
    #[must_use]
    pub fn checked_add(self, other: Self) -> Option<Self> {
        self.0.checked_add(other.0).map(Self)
    }

    /// The negated amount.
    #[must_use]
    pub fn negated(self) -> Self {
        Self(self.0.saturating_neg())
    }
}

string_enum! {
    /// The currency of all amounts.
    Currency {
        Usd = "USD",
    }
}

impl utoipa::PartialSchema for Money {
    fn schema() -> utoipa::openapi::RefOr<utoipa::openapi::Schema> {
        let schema = super::schema::pattern(r"^-?[0-9]+\.[0-9]{2,6}$");
        schema.description(Some("An amount in US dollars.")).examples(["9.99"]).into()
    }
}

impl utoipa::ToSchema for Money {}

/// A decimal with at least two places: `9.99`, `-0.01`, `0.005`.
impl fmt::Display for Money {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = if self.0 < 0 { "-" } else { "" };
        let amount = self.0.unsigned_abs();
        let fraction = format!("{:06}", amount % 1_000_000);
        let len = fraction.trim_end_matches('0').len().max(2);
        write!(f, "{sign}{}.{}", amount / 1_000_000, &fraction[..len])
    }
}

impl FromStr for Money {
    type Err = MalformedAmount;

    fn from_str(text: &str) -> Result<Self, MalformedAmount> {
        let (negative, digits) = text.strip_prefix('-').map_or((false, text), |rest| (true, rest));
        let (whole, fraction) = digits.split_once('.').unwrap_or((digits, "0"));
        let all_digits = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
        if !all_digits(whole) || !all_digits(fraction) || fraction.len() > 6 {
            return Err(MalformedAmount);
        }
        let whole: i64 = whole.parse().map_err(|_| MalformedAmount)?;
        let fraction: i64 = format!("{fraction:0<6}").parse().map_err(|_| MalformedAmount)?;
        let amount = whole.checked_mul(1_000_000).and_then(|whole| whole.checked_add(fraction));
        let amount = amount.ok_or(MalformedAmount)?;
        Ok(Self(if negative { -amount } else { amount }))
    }
}

impl Serialize for Money {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Money {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserialize_text(deserializer, "an amount such as \"0.005\"", str::parse)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_are_written_with_at_least_two_places() {
        for (micros, text) in
            [(9_990_000, "9.99"), (-10_000, "-0.01"), (5_000, "0.005"), (0, "0.00"), (1, "0.000001")]
        {
            assert_eq!(Money(micros).to_string(), text);
            assert_eq!(text.parse(), Ok(Money(micros)));
        }
    }

    #[test]
    fn what_is_no_amount_is_refused() {
        for text in ["", "-", ".", "1.", ".5", "1e3", "1.0000001", "99999999999999999999", "1,00", "+1"] {
            assert_eq!(text.parse::<Money>(), Err(MalformedAmount), "{text}");
        }
    }
}
