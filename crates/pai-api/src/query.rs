//! Query strings and percent-encoding: strict when decoding, RFC 3986 when encoding.

use std::borrow::Cow;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};

use super::{Action, Malformed};

/// Characters to escape: all but the unreserved ones of RFC 3986 §2.3.
pub const RESERVED: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'_')
    .remove(b'.')
    .remove(b'~');

/// Decoded query parameters in the order of the request.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Query(Vec<(String, String)>);

impl Query {
    /// Decodes a raw query by the rules of HTML forms, as the SDKs encode it: `+` and `%20` both stand for a space.
    ///
    /// # Errors
    /// [`Malformed`] for a `%` without two hexadecimal digits, and for escapes that are not UTF-8.
    pub fn parse(raw: &str) -> Result<Self, Malformed> {
        // Nearly every request has none.
        if raw.is_empty() {
            return Ok(Self::default());
        }
        raw.split('&')
            .filter(|pair| !pair.is_empty())
            .map(parse_pair)
            .collect::<Result<_, _>>()
            .map(Self)
    }

    /// Iterates over the decoded names and values.
    pub fn pairs(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()))
    }

    /// Returns whether a parameter is present with a non-empty value.
    #[must_use]
    pub fn has(&self, wanted: &str) -> bool {
        self.pairs()
            .any(|(name, value)| name == wanted && !value.is_empty())
    }

    /// Returns a parameter's value; `None` if it is missing or empty, because the API ignores an empty value.
    #[must_use]
    pub fn value(&self, wanted: &str) -> Option<&str> {
        self.pairs()
            .find(|(name, value)| *name == wanted && !value.is_empty())
            .map(|(_, value)| value)
    }

    /// Sets a parameter, replacing every earlier value of it.
    #[must_use]
    pub fn with(mut self, name: &str, value: &str) -> Self {
        self.0.retain(|(other, _)| other != name);
        self.0.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Checks the parameters of one operation and drops `RegionId`, which aliyun-python-sdk-core adds to every call.
    /// The endpoint determines the region, so `RegionId` is neither part of a cache key nor forwarded.
    ///
    /// Names must have the API's own spelling. Authorization here and the origin could interpret a name of another
    /// case, or one that occurs twice, differently.
    ///
    /// # Errors
    /// [`Malformed`] for a parameter that is not in `known`, and for one that occurs twice.
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

    /// Returns the pairs escaped by RFC 3986, sorted by name and joined by `&`. This is ACS3's canonical query, and
    /// also the query to send upstream. An empty value keeps its `=`.
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

/// Parameter that every operation accepts and none forwards.
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

/// Escapes all but the unreserved characters, with upper-case digits.
#[must_use]
pub fn encode(text: &str) -> String {
    utf8_percent_encode(text, RESERVED).to_string()
}

/// Decodes percent escapes strictly: each `%` needs two hexadecimal digits, and the result must be UTF-8.
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
