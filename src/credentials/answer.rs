//! Reading answers that hold a temporary credential. Nothing of an answer reaches an error but its Code.

use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use secrecy::SecretString;
use serde_json::Value;

use super::SourceError;
use crate::signing::Credentials;
use crate::transport::Reply;

/// A credential, and how long it holds.
#[derive(Clone)]
pub(super) struct Grant {
    /// The credential.
    pub(super) credentials: Credentials,
    /// When it expires, if that is known.
    pub(super) expires: Option<Timestamp>,
}

impl Grant {
    /// A key with no known end.
    pub(super) fn lasting(id: String, secret: String, token: Option<String>) -> Self {
        Self {
            credentials: Credentials {
                access_key_id: id,
                access_key_secret: SecretString::from(secret),
                security_token: token.map(SecretString::from),
            },
            expires: None,
        }
    }

    /// A temporary key: `AccessKeyId`, `AccessKeySecret`, `SecurityToken` and `Expiration`, all four.
    pub(super) fn temporary(who: &'static str, object: &Value) -> Result<Self, SourceError> {
        let bad = |problem| SourceError::Answer { who, problem };
        let field = |name: &str, problem| text(object, name).ok_or_else(|| bad(problem));
        let expiration = field("Expiration", "it has no Expiration")?;
        let expires = parse_expiration(&expiration).ok_or_else(|| bad(EXPIRATION_FORM))?;
        let grant = Self::lasting(
            field("AccessKeyId", "it has no AccessKeyId")?,
            field("AccessKeySecret", "it has no AccessKeySecret")?,
            Some(field("SecurityToken", "it has no SecurityToken")?),
        );
        Ok(Self {
            expires: Some(expires),
            ..grant
        })
    }

    /// A session's key, which has no token: `SessionAccessKeyId`, `SessionAccessKeySecret`, `Expiration`.
    pub(super) fn session(who: &'static str, object: Option<&Value>) -> Result<Self, SourceError> {
        let bad = |problem| SourceError::Answer { who, problem };
        let object = object.ok_or_else(|| bad("it has no SessionAccessKey"))?;
        let field = |name: &str, problem| text(object, name).ok_or_else(|| bad(problem));
        let expiration = field("Expiration", "it has no Expiration")?;
        let grant = Self::lasting(
            field("SessionAccessKeyId", "it has no SessionAccessKeyId")?,
            field("SessionAccessKeySecret", "it has no SessionAccessKeySecret")?,
            None,
        );
        Ok(Self {
            expires: Some(parse_expiration(&expiration).ok_or_else(|| bad(EXPIRATION_FORM))?),
            ..grant
        })
    }
}

const EXPIRATION_FORM: &str = "its Expiration is not of the form 2026-11-23T10:20:42Z";

/// The object in an answer of status 200.
pub(super) fn object(who: &'static str, reply: &Reply) -> Result<Value, SourceError> {
    let parsed = serde_json::from_slice::<Value>(&reply.body).ok();
    if reply.status != 200 {
        let (status, code) = (reply.status, parsed.as_ref().and_then(code));
        return Err(SourceError::Refused { who, status, code });
    }
    parsed.filter(Value::is_object).ok_or(SourceError::Answer {
        who,
        problem: "it is no JSON object",
    })
}

/// An object of OAuth, which may be an error whatever its status.
pub(super) fn unfailed(
    who: &'static str,
    reply: &Reply,
    object: &Value,
) -> Result<(), SourceError> {
    match object.get("error") {
        None => Ok(()),
        Some(_) => Err(SourceError::Refused {
            who,
            status: reply.status,
            code: code(object),
        }),
    }
}

/// The object in an answer that must also say `"Code": "Success"`.
pub(super) fn successful(who: &'static str, reply: &Reply) -> Result<Value, SourceError> {
    let object = object(who, reply)?;
    match code(&object).as_deref() {
        Some("Success") => Ok(object),
        told => Err(SourceError::Refused {
            who,
            status: reply.status,
            code: told.map(str::to_owned),
        }),
    }
}

/// A text that is there and not empty.
pub(super) fn text(object: &Value, name: &str) -> Option<String> {
    let value = object.get(name)?.as_str()?;
    (!value.is_empty()).then(|| value.to_owned())
}

/// The strict form the vendor's SDKs read, and no other.
pub(super) fn parse_expiration(text: &str) -> Option<Timestamp> {
    if text.len() != "2026-11-23T10:20:42Z".len() {
        return None;
    }
    let civil = DateTime::strptime("%Y-%m-%dT%H:%M:%SZ", text).ok()?;
    Some(civil.to_zoned(TimeZone::UTC).ok()?.timestamp())
}

/// An answer's Code, unless it is too odd to be one: a message in its place might quote a key.
fn code(object: &Value) -> Option<String> {
    // OAuth has another word for it.
    let code = text(object, "Code").or_else(|| text(object, "error"))?;
    let sane = code.len() <= 64
        && code
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte));
    sane.then_some(code)
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

    #[test]
    fn a_missing_part_is_named() {
        let whole = json!({
            "AccessKeyId": "STS.x", "AccessKeySecret": "s", "SecurityToken": "t",
            "Expiration": "2026-11-23T10:20:42Z",
        });
        assert!(Grant::temporary("STS", &whole).is_ok());
        for name in [
            "AccessKeyId",
            "AccessKeySecret",
            "SecurityToken",
            "Expiration",
        ] {
            for bad in [json!(""), json!(null), json!(7)] {
                let mut answer = whole.clone();
                answer[name] = bad;
                let Err(error) = Grant::temporary("STS", &answer) else {
                    panic!("{name}")
                };
                assert!(error.to_string().contains(name), "{error}");
            }
        }
    }
}
