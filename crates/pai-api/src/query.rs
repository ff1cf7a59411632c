//! Percent-encoding as this API means it: decoded strictly, encoded by RFC 3986.

use std::borrow::Cow;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};

use super::{Action, Malformed};

/// Everything but RFC 3986's unreserved characters (§2.3).
pub const RESERVED: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'_')
    .remove(b'.')
    .remove(b'~');

/// A query, decoded, in the order it was sent.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Query(Vec<(String, String)>);

impl Query {
    /// Decodes a raw query by the form rules the SDKs follow: `+` and `%20` are both a space.
    ///
    /// # Errors
    /// [`Malformed`] at an escape that is not two hexadecimal digits, or that is not UTF-8.
    pub fn parse(raw: &str) -> Result<Self, Malformed> {
        raw.split('&')
            .filter(|pair| !pair.is_empty())
            .map(parse_pair)
            .collect::<Result<_, _>>()
            .map(Self)
    }

    /// The decoded pairs.
    pub fn pairs(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()))
    }

    /// Whether a parameter is there, with a value.
    #[must_use]
    pub fn has(&self, wanted: &str) -> bool {
        self.pairs()
            .any(|(name, value)| name == wanted && !value.is_empty())
    }

    /// Returns a parameter's value, or `None` where it is missing or empty: the API takes an empty
    /// value for no condition.
    #[must_use]
    pub fn value(&self, wanted: &str) -> Option<&str> {
        self.pairs()
            .find(|(name, value)| *name == wanted && !value.is_empty())
            .map(|(_, value)| value)
    }

    /// Sets a parameter in place of what it was.
    #[must_use]
    pub fn with(mut self, name: &str, value: &str) -> Self {
        self.0.retain(|(other, _)| other != name);
        self.0.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Keeps the parameters of one operation, and drops `RegionId`, which aliyun-python-sdk-core adds to
    /// every call: the endpoint decides the region, so it is neither part of a cache key nor sent on.
    ///
    /// A name is known in the API's own spelling alone. One that differs in case, or a name that comes
    /// twice, could mean one thing to the policy here and another to the origin.
    ///
    /// # Errors
    /// [`Malformed`] for a parameter that is not in `known`, or that is given twice.
    pub(super) fn only(mut self, action: Action, known: &[&str]) -> Result<Self, Malformed> {
        for (at, (name, _)) in self.0.iter().enumerate() {
            if name != REGION && !known.contains(&name.as_str()) {
                return Err(unknown(action, known));
            }
            if self.0.iter().take(at).any(|(other, _)| other == name) {
                return Err(Malformed(format!("{name} must be given once")));
            }
        }
        self.0.retain(|(name, _)| name != REGION);
        Ok(self)
    }

    /// The pairs escaped by RFC 3986, sorted by name and joined by `&`: ACS3's canonical query, and
    /// the query to put on the wire beside it. An empty value keeps its `=`.
    #[must_use]
    pub fn canonical(&self) -> String {
        let mut pairs: Vec<&(String, String)> = self.0.iter().collect();
        pairs.sort();
        let mut text = String::new();
        for (name, value) in pairs {
            let joint = if text.is_empty() { "" } else { "&" };
            text.extend([joint, &encode(name), "=", &encode(value)]);
        }
        text
    }
}

impl<N: Into<String>, V: Into<String>> FromIterator<(N, V)> for Query {
    fn from_iter<I: IntoIterator<Item = (N, V)>>(pairs: I) -> Self {
        Self(
            pairs
                .into_iter()
                .map(|(name, value)| (name.into(), value.into()))
                .collect(),
        )
    }
}

/// Accepted on every operation, and sent on by none.
const REGION: &str = "RegionId";

fn unknown(action: Action, known: &[&str]) -> Malformed {
    let action = action.as_str();
    match known {
        [] => Malformed(format!("{action} has no parameters")),
        known => Malformed(format!(
            "{action} has these parameters: {}",
            known.join(", ")
        )),
    }
}

fn parse_pair(pair: &str) -> Result<(String, String), Malformed> {
    let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
    let form = |text: &str| decode(&text.replace('+', " ")).map(Cow::into_owned);
    Ok((form(name)?, form(value)?))
}

/// Escapes everything but unreserved characters, with upper-case digits.
#[must_use]
pub fn encode(text: &str) -> String {
    utf8_percent_encode(text, RESERVED).to_string()
}

/// Undoes percent-encoding; refuses what is not an encoding of UTF-8 text.
pub(super) fn decode(text: &str) -> Result<Cow<'_, str>, Malformed> {
    let bytes = text.as_bytes();
    let complete = bytes
        .iter()
        .enumerate()
        .filter(|(_, byte)| **byte == b'%')
        .all(|(at, _)| {
            bytes
                .get(at + 1..at + 3)
                .is_some_and(|digits| digits.iter().all(u8::is_ascii_hexdigit))
        });
    if !complete {
        return Err(Malformed::new(
            "a '%' must be followed by two hexadecimal digits",
        ));
    }
    percent_decode_str(text)
        .decode_utf8()
        .map_err(|_| Malformed::new("the address must be percent-encoded UTF-8"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_is_decoded_and_encoded_again_strictly() {
        let query = Query::parse("Name=tensor+flow~*%2B%25/%e4%b8%ad&Options=&A").unwrap();
        assert_eq!(
            query.canonical(),
            "A=&Name=tensor%20flow~%2A%2B%25%2F%E4%B8%AD&Options="
        );
    }

    #[test]
    fn broken_escapes_are_refused() {
        for bad in ["a=%", "a=%2", "a=%zz", "%f", "a=%ff"] {
            assert!(Query::parse(bad).is_err(), "{bad}");
        }
    }
}
