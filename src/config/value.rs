//! Parsers of setting values: durations, rates, sizes, money, URLs, secrets. Errors say what was expected and never
//! show the value.

use std::fmt;
use std::marker::PhantomData;
use std::net::SocketAddr;
use std::num::{NonZeroU32, NonZeroU64};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use secrecy::{SecretBox, SecretString};
use serde::de::{Deserializer, Error, Visitor};
use url::Url;

use crate::domain::money::Money;
use crate::domain::retention::parse_duration;

/// A type that the text of a setting parses into.
pub(super) trait SettingValue: Sized {
    /// The expected form, as it follows "expected".
    const EXPECTED: &'static str;

    /// `None` if the text has another form.
    fn parse(text: &str) -> Option<Self>;
}

/// Reads a setting with a value.
pub(super) fn required<'de, D: Deserializer<'de>, T: SettingValue>(deserializer: D) -> Result<T, D::Error> {
    let text = scalar::<D, T>(deserializer)?;
    T::parse(&text).ok_or_else(|| D::Error::custom(format_args!("expected {}", T::EXPECTED)))
}

/// Reads a setting that may be unset, which is written `""`.
pub(super) fn optional<'de, D: Deserializer<'de>, T: SettingValue>(
    deserializer: D,
) -> Result<Option<T>, D::Error> {
    let text = scalar::<D, T>(deserializer)?;
    if text.is_empty() {
        return Ok(None);
    }
    T::parse(&text)
        .map(Some)
        .ok_or_else(|| D::Error::custom(format_args!("expected {}, or \"\" for none", T::EXPECTED)))
}

/// The text of a string, integer or boolean.
fn scalar<'de, D: Deserializer<'de>, T: SettingValue>(deserializer: D) -> Result<String, D::Error> {
    struct Scalar<T>(PhantomData<T>);

    impl<T: SettingValue> Visitor<'_> for Scalar<T> {
        type Value = String;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str(T::EXPECTED)
        }
        fn visit_str<E: Error>(self, text: &str) -> Result<String, E> {
            Ok(text.trim().to_owned())
        }
        fn visit_i64<E: Error>(self, number: i64) -> Result<String, E> {
            Ok(number.to_string())
        }
        fn visit_bool<E: Error>(self, value: bool) -> Result<String, E> {
            Ok(value.to_string())
        }
    }

    deserializer.deserialize_any(Scalar::<T>(PhantomData))
}

/// A number of requests for each period, with a burst of the same size.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    pub count: NonZeroU32,
    pub period: Duration,
}

impl SettingValue for Rate {
    const EXPECTED: &'static str = "a rate such as `10/s`, `20/min`, `100/hour` or `1000/day`";

    fn parse(text: &str) -> Option<Self> {
        let (count, unit) = text.split_once('/')?;
        let seconds = match unit.trim() {
            "s" | "sec" | "second" => 1,
            "m" | "min" | "minute" => 60,
            "h" | "hour" => 3_600,
            "d" | "day" => 86_400,
            _ => return None,
        };
        Some(Self { count: count.trim().parse().ok()?, period: Duration::from_secs(seconds) })
    }
}

impl SettingValue for Duration {
    const EXPECTED: &'static str = "a duration such as `250ms`, `120s`, `15m`, `24h` or `30d`";

    fn parse(text: &str) -> Option<Self> {
        parse_duration(text)
    }
}

/// A number of bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct ByteSize(pub usize);

impl SettingValue for ByteSize {
    const EXPECTED: &'static str = "a size such as `512B`, `64KiB` or `4MiB`";

    fn parse(text: &str) -> Option<Self> {
        let unit_at = text.find(|c: char| !c.is_ascii_digit())?;
        let (number, unit) = text.split_at(unit_at);
        let bytes = match unit.trim() {
            "B" => 1,
            "KiB" => 1 << 10,
            "MiB" => 1 << 20,
            "GiB" => 1 << 30,
            _ => return None,
        };
        number.parse::<usize>().ok()?.checked_mul(bytes).map(Self)
    }
}

impl SettingValue for Money {
    const EXPECTED: &'static str = "an amount in dollars such as `5.00`, with at most six decimal places";

    fn parse(text: &str) -> Option<Self> {
        text.parse().ok().filter(|amount| *amount >= Self::ZERO)
    }
}

impl SettingValue for Url {
    const EXPECTED: &'static str = "an http or https URL without user, password, query or fragment";

    fn parse(text: &str) -> Option<Self> {
        let url = Url::parse(text).ok()?;
        let bare = url.username().is_empty()
            && url.password().is_none()
            && url.query().is_none()
            && url.fragment().is_none();
        (matches!(url.scheme(), "http" | "https") && bare).then_some(url)
    }
}

/// The address of a database server. It may contain a password, so `Debug` hides it.
#[derive(Debug, Clone)]
pub struct PostgresUrl(pub SecretString);

impl SettingValue for PostgresUrl {
    const EXPECTED: &'static str =
        "a PostgreSQL URL such as `postgres://user@host/name` (unset: the embedded database in `data_dir`)";

    fn parse(text: &str) -> Option<Self> {
        let scheme = Url::parse(text).ok()?.scheme().to_owned();
        matches!(scheme.as_str(), "postgres" | "postgresql").then(|| Self(text.into()))
    }
}

/// The keys of stored secrets: the current one, then earlier ones.
pub type SecretKeys = Arc<[SecretBox<[u8; 32]>]>;

/// The most keys at once. A rotation needs two.
const MAX_SECRET_KEYS: usize = 8;

/// Parses keys that are separated by commas, spaces or line ends; `None` if one is malformed, or there are none or too many.
pub fn parse_secret_keys(text: &str) -> Option<SecretKeys> {
    let parse = |text: &str| {
        let bytes: [u8; 32] = BASE64_STANDARD.decode(text).ok()?.try_into().ok()?;
        Some(SecretBox::new(Box::new(bytes)))
    };
    let texts = text.split(|c: char| c == ',' || c.is_whitespace()).filter(|text| !text.is_empty());
    let keys: Option<Vec<_>> = texts.map(parse).collect();
    keys.filter(|keys| (1..=MAX_SECRET_KEYS).contains(&keys.len())).map(Arc::from)
}

impl SettingValue for SecretKeys {
    const EXPECTED: &'static str = "32 bytes in base64, as `openssl rand -base64 32` prints them, and after them, separated by commas, at \
        most 7 earlier keys";

    fn parse(text: &str) -> Option<Self> {
        parse_secret_keys(text)
    }
}

impl SettingValue for SocketAddr {
    const EXPECTED: &'static str = "an address and port such as `127.0.0.1:8080` or `[::1]:8080`";

    fn parse(text: &str) -> Option<Self> {
        text.parse().ok()
    }
}

impl SettingValue for SecretString {
    const EXPECTED: &'static str = "a text in one line";

    fn parse(text: &str) -> Option<Self> {
        (!text.contains(char::is_control)).then(|| text.into())
    }
}

impl SettingValue for String {
    const EXPECTED: &'static str = "a text in one line";

    fn parse(text: &str) -> Option<Self> {
        (!text.is_empty() && !text.contains(char::is_control)).then(|| text.to_owned())
    }
}

impl SettingValue for PathBuf {
    const EXPECTED: &'static str = "a path";

    fn parse(text: &str) -> Option<Self> {
        (!text.is_empty()).then(|| text.into())
    }
}

impl SettingValue for bool {
    const EXPECTED: &'static str = "`true` or `false`";

    fn parse(text: &str) -> Option<Self> {
        text.parse().ok()
    }
}

impl SettingValue for u32 {
    const EXPECTED: &'static str = "a whole number";

    fn parse(text: &str) -> Option<Self> {
        text.parse().ok()
    }
}

impl SettingValue for NonZeroU64 {
    const EXPECTED: &'static str = "a whole number above 0";

    fn parse(text: &str) -> Option<Self> {
        text.parse().ok()
    }
}

impl SettingValue for usize {
    const EXPECTED: &'static str = "a whole number";

    fn parse(text: &str) -> Option<Self> {
        text.parse().ok()
    }
}
