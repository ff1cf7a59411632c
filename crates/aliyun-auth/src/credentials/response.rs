//! Reads responses that hold a temporary credential. Only Code and RequestId of a response reach an error, and the
//! Message where the request had no key: any other part might quote a secret.

use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use secrecy::{ExposeSecret, SecretString};
use serde_json::Value;

use super::SourceError;
use super::context::trimmed;
use crate::Credentials;
use http_edge::transport::Reply;

/// Credential as one source gave it, with its expiration.
#[derive(Clone)]
pub(super) struct FetchedCredentials {
    /// Id, secret and, for a temporary credential, the token.
    pub(super) credentials: Credentials,
    /// Expiration that the source gave; `None` for a key that has none or does not say.
    pub(super) expires: Option<Timestamp>,
}

impl FetchedCredentials {
    /// Builds a credential without a known expiration. White space and byte order marks around its parts are
    /// removed: editors and shells add them, and the vendor refuses a key that has them.
    pub(super) fn without_expiry(id: &str, secret: &str, token: Option<&str>) -> Self {
        let token = token.map(trimmed).filter(|token| !token.is_empty());
        Self {
            credentials: Credentials {
                access_key_id: trimmed(id).to_owned(),
                access_key_secret: SecretString::from(trimmed(secret)),
                security_token: token.map(SecretString::from),
            },
            expires: None,
        }
    }

    /// Validates the parts: none may be empty, id and token must fit in a header, and the secret must be one
    /// line. A file with two keys, or a binary file, is thus refused here and not by the origin.
    ///
    /// # Errors
    /// [`SourceError::Unusable`], which names the source and the part, never its value.
    pub(super) fn validated(self, source: &'static str) -> Result<Self, SourceError> {
        let unusable = |part, problem| SourceError::Unusable {
            source_name: source,
            part,
            problem,
        };
        let Credentials {
            access_key_id: id,
            access_key_secret: secret,
            security_token: token,
        } = &self.credentials;
        let (secret, token) = (secret.expose_secret(), token.as_ref());
        for (part, text) in [
            ("access key id", id.as_str()),
            ("access key secret", secret),
        ] {
            if text.is_empty() {
                return Err(unusable(part, "is empty"));
            }
        }
        let is_plain = |text: &str| text.bytes().all(|byte| byte.is_ascii_graphic());
        if !is_plain(id) {
            return Err(unusable("access key id", NOT_PLAIN));
        }
        if token.is_some_and(|token| !is_plain(token.expose_secret())) {
            return Err(unusable("security token", NOT_PLAIN));
        }
        if secret.chars().any(char::is_control) {
            return Err(unusable(
                "access key secret",
                "has a line break or control character in it",
            ));
        }
        Ok(self)
    }

    /// Reads a temporary credential from `AccessKeyId`, `AccessKeySecret`, `SecurityToken` and `Expiration`.
    ///
    /// # Errors
    /// [`SourceError::Answer`] that names the first of the four that is missing or unreadable.
    pub(super) fn temporary(who: &'static str, object: &Value) -> Result<Self, SourceError> {
        let bad = |problem| SourceError::Answer { who, problem };
        let field = |name: &str, problem| text(object, name).ok_or_else(|| bad(problem));
        let expiration = field("Expiration", "it has no Expiration")?;
        let expires = parse_expiration(&expiration).ok_or_else(|| bad(EXPIRATION_FORM))?;
        let fetched = Self::without_expiry(
            &field("AccessKeyId", "it has no AccessKeyId")?,
            &field("AccessKeySecret", "it has no AccessKeySecret")?,
            Some(&field("SecurityToken", "it has no SecurityToken")?),
        );
        Ok(Self {
            expires: Some(expires),
            ..fetched
        })
    }
}

const NOT_PLAIN: &str = "has a character in it that cannot stand in a header (a space, a line break or one beyond ASCII)";

const EXPIRATION_FORM: &str = "its Expiration is not of the form 2026-11-23T10:20:42Z";

/// Parses the JSON object of a response with status 200.
///
/// # Errors
/// [`SourceError::Refused`] with the response's Code for another status, [`SourceError::Answer`] for a 200 that is
/// no JSON object.
pub(super) fn object(who: &'static str, reply: &Reply) -> Result<Value, SourceError> {
    let parsed = serde_json::from_slice::<Value>(without_bom(&reply.body)).ok();
    if reply.status != 200 {
        return Err(refused(who, reply.status, parsed.as_ref()));
    }
    parsed.filter(Value::is_object).ok_or(SourceError::Answer {
        who,
        problem: "it is no JSON object",
    })
}

/// Parses the JSON object of a response that must also say `"Code": "Success"`, as the metadata service and a
/// credentials URI do: both answer some failures with status 200.
pub(super) fn successful(who: &'static str, reply: &Reply) -> Result<Value, SourceError> {
    let object = object(who, reply)?;
    match code(&object).as_deref() {
        Some("Success") => Ok(object),
        _ => Err(refused(who, reply.status, Some(&object))),
    }
}

/// Parses the response to a request that no key signed, as [`object`] does. A refusal then has the server's Message.
///
/// # Errors
/// Those of [`object`].
pub(super) fn object_of_unsigned(who: &'static str, reply: &Reply) -> Result<Value, SourceError> {
    let mut result = object(who, reply);
    if let Err(SourceError::Refused { message, .. }) = &mut result {
        *message = message_of(reply);
    }
    result
}

fn refused(who: &'static str, status: u16, object: Option<&Value>) -> SourceError {
    SourceError::Refused {
        who,
        status,
        code: object.and_then(code),
        request_id: object.and_then(|object| short_word(object, "RequestId")),
        message: None,
    }
}

/// Returns a response's Message if it is a sentence: at most 300 bytes, without a word that is long enough to be a
/// token.
fn message_of(reply: &Reply) -> Option<String> {
    let parsed = serde_json::from_slice::<Value>(without_bom(&reply.body)).ok()?;
    let message = text(&parsed, "Message")?;
    let is_sentence = message.len() <= 300
        && !message.chars().any(char::is_control)
        && message.split_whitespace().all(|word| word.len() <= 64);
    is_sentence.then_some(message)
}

/// Strips a byte order mark, which JSON parsers refuse, from the start of a response.
pub(super) fn without_bom(json: &[u8]) -> &[u8] {
    json.strip_prefix("\u{feff}".as_bytes()).unwrap_or(json)
}

/// Returns a string field of an object, trimmed; `None` when it is missing, empty or no string.
pub(super) fn text(object: &Value, name: &str) -> Option<String> {
    let value = trimmed(object.get(name)?.as_str()?);
    (!value.is_empty()).then(|| value.to_owned())
}

/// Parses an expiration in the one form that the vendor's SDKs read, `2026-11-23T10:20:42Z`. An offset or a
/// fraction of a second is refused rather than guessed at.
pub(super) fn parse_expiration(text: &str) -> Option<Timestamp> {
    if text.len() != "2026-11-23T10:20:42Z".len() {
        return None;
    }
    let civil = DateTime::strptime("%Y-%m-%dT%H:%M:%SZ", text).ok()?;
    Some(civil.to_zoned(TimeZone::UTC).ok()?.timestamp())
}

/// Tells whether the response refuses the request's timestamp, which signing again by the server's own `Date`
/// mends.
pub(super) fn is_timestamp_refusal(reply: &Reply) -> bool {
    let parsed = serde_json::from_slice::<Value>(without_bom(&reply.body)).ok();
    let code = parsed.as_ref().and_then(code);
    reply.status != 200 && code.is_some_and(|code| code.starts_with("InvalidTimeStamp."))
}

/// Returns a response's Code if it looks like one: at most 64 letters, digits and `._-`. A message in its place
/// might quote a key.
fn code(object: &Value) -> Option<String> {
    short_word(object, "Code")
}

fn short_word(object: &Value, name: &str) -> Option<String> {
    let word = text(object, name)?;
    let sane = word.len() <= 64
        && word
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte));
    sane.then_some(word)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn expirations_are_read_strictly() {
        let read = parse_expiration("2026-11-23T10:20:42Z").unwrap();
        assert_eq!(read.to_string(), "2026-11-23T10:20:42Z");
        for other in [
            "2026-11-23T10:20:42.0Z",
            "2026-11-23T10:20:42+00:00",
            "2026-11-23 10:20:42Z",
            "2026-13-23T10:20:42Z",
            "1790000000",
            "",
        ] {
            assert_eq!(parse_expiration(other), None, "{other}");
        }
    }

    fn refusal(id: &str, secret: &str, token: Option<&str>) -> Option<String> {
        let checked =
            FetchedCredentials::without_expiry(id, secret, token).validated("the profile");
        checked.err().map(|error| error.to_string())
    }

    #[test]
    fn white_space_and_byte_order_marks_around_a_key_do_not_count() {
        let around = |text: &str| format!("\u{feff} \t\u{feff}{text}\r\n\u{a0}");
        let fetched = FetchedCredentials::without_expiry(
            &around("STS.x"),
            &around("s s"),
            Some(&around("t")),
        );
        let fetched = fetched.validated("the profile").ok().unwrap();
        assert_eq!(fetched.credentials.access_key_id, "STS.x");
        assert_eq!(fetched.credentials.access_key_secret.expose_secret(), "s s");
        assert_eq!(
            fetched.credentials.security_token.unwrap().expose_secret(),
            "t"
        );
        let blank = FetchedCredentials::without_expiry("i", "s", Some(&around("")));
        assert!(blank.credentials.security_token.is_none());
    }

    #[test]
    fn a_part_that_cannot_be_sent_is_refused_by_name_and_not_by_value() {
        assert_eq!(refusal("LTAIx", "s", None), None);
        for (id, secret, token, part) in [
            ("LTAI hunter2", "s", None, "access key id"),
            ("LTAI\nhunter2", "s", None, "access key id"),
            ("LTAI\u{200b}hunter2", "s", None, "access key id"),
            ("", "hunter2", None, "access key id"),
            ("LTAIx", " ", None, "access key secret"),
            ("LTAIx", "hunter2\nhunter2", None, "access key secret"),
            (
                "LTAIx",
                "s",
                Some("hunter2\u{feff}hunter2"),
                "security token",
            ),
        ] {
            let message = refusal(id, secret, token).unwrap();
            assert!(
                message.contains("the profile") && message.contains(part),
                "{message}"
            );
            assert!(!message.contains("hunter2"), "{message}");
        }
    }

    #[test]
    fn a_missing_part_is_named() {
        let whole = json!({
            "AccessKeyId": "STS.x", "AccessKeySecret": "s", "SecurityToken": "t",
            "Expiration": "2026-11-23T10:20:42Z",
        });
        assert!(FetchedCredentials::temporary("STS", &whole).is_ok());
        for name in [
            "AccessKeyId",
            "AccessKeySecret",
            "SecurityToken",
            "Expiration",
        ] {
            for bad in [json!(""), json!(null), json!(7)] {
                let mut answer = whole.clone();
                answer[name] = bad;
                let Err(error) = FetchedCredentials::temporary("STS", &answer) else {
                    panic!("{name}")
                };
                assert!(error.to_string().contains(name), "{error}");
            }
        }
    }
}
