//! Durations and sizes as settings write them: `"30s"`, `"1h 30m"`, `"256MiB"`.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use jiff::SignedDuration;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// Duration that is read and printed with its unit, such as `"30s"`; never negative. A number without a unit is
/// refused, since readers would disagree about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct HumanDuration(pub Duration);

/// Number of bytes, written as `"256MiB"`, `"64KiB"` or a plain number. Units are powers of 1,024.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct ByteSize(pub u64);

/// Refusal of a text that is no quantity; its message shows the right form.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct InvalidQuantity(&'static str);

const DURATION_FORM: InvalidQuantity =
    InvalidQuantity("write a duration with its unit, such as \"30s\", \"15m\" or \"24h\"");
const SIZE_FORM: InvalidQuantity =
    InvalidQuantity("write a size such as \"256MiB\", \"64KiB\" or a number of bytes");
const SIZES: [(&str, u64); 4] = [
    ("GiB", 1 << 30),
    ("MiB", 1 << 20),
    ("KiB", 1 << 10),
    ("B", 1),
];

impl HumanDuration {
    /// Creates a duration of that many milliseconds.
    #[must_use]
    pub const fn millis(milliseconds: u64) -> Self {
        Self(Duration::from_millis(milliseconds))
    }

    /// Creates a duration of that many seconds.
    #[must_use]
    pub const fn secs(seconds: u64) -> Self {
        Self(Duration::from_secs(seconds))
    }
}

impl FromStr for HumanDuration {
    type Err = InvalidQuantity;

    fn from_str(text: &str) -> Result<Self, InvalidQuantity> {
        let span: SignedDuration = text.trim().parse().map_err(|_| DURATION_FORM)?;
        Duration::try_from(span)
            .map(Self)
            .map_err(|_| DURATION_FORM)
    }
}

impl fmt::Display for HumanDuration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{:#}",
            SignedDuration::try_from(self.0).unwrap_or(SignedDuration::MAX)
        )
    }
}

impl FromStr for ByteSize {
    type Err = InvalidQuantity;

    fn from_str(text: &str) -> Result<Self, InvalidQuantity> {
        let text = text.trim();
        let (digits, unit) = SIZES
            .into_iter()
            .find_map(|(suffix, unit)| text.strip_suffix(suffix).map(|digits| (digits, unit)))
            .unwrap_or((text, 1));
        let count: u64 = digits.trim().parse().map_err(|_| SIZE_FORM)?;
        count.checked_mul(unit).map(Self).ok_or(SIZE_FORM)
    }
}

impl fmt::Display for ByteSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let whole = |unit: u64| self.0 >= unit && self.0.is_multiple_of(unit);
        let (suffix, unit) = SIZES
            .into_iter()
            .find(|(_, unit)| whole(*unit))
            .unwrap_or(("B", 1));
        write!(f, "{}{suffix}", self.0 / unit)
    }
}

impl JsonSchema for HumanDuration {
    fn schema_name() -> Cow<'static, str> {
        "Duration".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "title": "duration" })
    }
}

impl JsonSchema for ByteSize {
    fn schema_name() -> Cow<'static, str> {
        "Size".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": ["string", "integer"], "title": "size" })
    }
}

impl Serialize for HumanDuration {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl Serialize for ByteSize {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for HumanDuration {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match RawQuantity::deserialize(deserializer)? {
            RawQuantity::Text(text) => text.parse().map_err(de::Error::custom),
            RawQuantity::Number(_) | RawQuantity::Other(_) => Err(de::Error::custom(DURATION_FORM)),
        }
    }
}

impl<'de> Deserialize<'de> for ByteSize {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match RawQuantity::deserialize(deserializer)? {
            RawQuantity::Text(text) => text.parse().map_err(de::Error::custom),
            RawQuantity::Number(bytes) => Ok(Self(bytes)),
            RawQuantity::Other(_) => Err(de::Error::custom(SIZE_FORM)),
        }
    }
}

/// Types that a quantity may have in a file or a variable, before it is parsed.
#[derive(Deserialize)]
#[serde(untagged)]
enum RawQuantity {
    Number(u64),
    Text(String),
    Other(de::IgnoredAny),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantities_read_back_as_they_are_written() {
        for text in ["30s", "15m", "24h", "2s 500ms", "50ms", "0s"] {
            assert_eq!(text.parse::<HumanDuration>().unwrap().to_string(), text);
        }
        for text in ["256MiB", "64KiB", "1GiB", "7B", "1025B"] {
            assert_eq!(text.parse::<ByteSize>().unwrap().to_string(), text);
        }
        assert_eq!("2.5s".parse(), Ok(HumanDuration::millis(2500)));
        assert_eq!("10".parse(), Ok(ByteSize(10)));
    }

    #[test]
    fn other_texts_are_refused_with_the_right_form() {
        for text in ["", "30", "-5s", "soon", "1e9h"] {
            assert_eq!(text.parse::<HumanDuration>(), Err(DURATION_FORM), "{text}");
        }
        for text in ["", "-1", "1.5MiB", "256MB", "99999999999GiB"] {
            assert_eq!(text.parse::<ByteSize>(), Err(SIZE_FORM), "{text}");
        }
    }
}
