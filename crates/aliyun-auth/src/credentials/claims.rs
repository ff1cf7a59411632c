//! Claims of a token that this gateway presents, read without verifying them.

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use jiff::Timestamp;
use serde_json::Value;

/// Claims of a JWT (RFC 7519), unverified: for explanations and for a known expiration, never for a decision about
/// another party.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct UnverifiedClaims {
    /// `iss`: the cluster that issued the token.
    pub issuer: Option<String>,
    /// `sub`: the identity that the token proves.
    pub subject: Option<String>,
    /// `aud`: the services that the token is for.
    pub audience: Vec<String>,
    /// `exp`.
    pub expires: Option<Timestamp>,
}

impl UnverifiedClaims {
    /// Reads the claims; `None` for a token that is no JWT. A claim of a wrong type counts as absent.
    #[must_use]
    pub fn of(token: &str) -> Option<Self> {
        let mut parts = token.split('.');
        let (_, claims, _) = (parts.next()?, parts.next()?, parts.next()?);
        let json = BASE64_URL_SAFE_NO_PAD.decode(claims).ok()?;
        let claims: Value = serde_json::from_slice(&json).ok()?;
        let text = |name: &str| claims.get(name)?.as_str().map(str::to_owned);
        claims.as_object()?;
        Some(Self {
            issuer: text("iss"),
            subject: text("sub"),
            audience: match claims.get("aud") {
                Some(Value::String(one)) => vec![one.clone()],
                Some(Value::Array(several)) => several
                    .iter()
                    .filter_map(|audience| audience.as_str().map(str::to_owned))
                    .collect(),
                _ => Vec::new(),
            },
            expires: claims
                .get("exp")
                .and_then(Value::as_f64)
                .and_then(|seconds| Timestamp::from_second(seconds as i64).ok()),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(claims: &str) -> Option<UnverifiedClaims> {
        UnverifiedClaims::of(&format!("x.{}.", BASE64_URL_SAFE_NO_PAD.encode(claims)))
    }

    /// The example of RFC 7519 §3.1.
    #[test]
    fn the_rfcs_example_is_read() {
        let token = concat!(
            "eyJ0eXAiOiJKV1QiLA0KICJhbGciOiJIUzI1NiJ9",
            ".eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ",
            ".dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk"
        );
        let expected = UnverifiedClaims {
            issuer: Some("joe".to_owned()),
            expires: Timestamp::from_second(1_300_819_380).ok(),
            ..UnverifiedClaims::default()
        };
        assert_eq!(UnverifiedClaims::of(token), Some(expected));
    }

    #[test]
    fn audiences_are_one_or_several_and_other_texts_are_no_tokens() {
        for (claims, audience) in [
            (r#"{"aud":"a"}"#, vec!["a"]),
            (r#"{"aud":["a",1,"b"]}"#, vec!["a", "b"]),
            (r#"{"aud":1,"exp":"x","sub":null}"#, vec![]),
        ] {
            let read = of(claims).unwrap();
            assert_eq!(read.audience, audience);
            assert_eq!((read.expires, read.subject), (None, None));
        }
        for text in ["", "opaque", "a.b", "a.b.c", "..", "a.%.c"] {
            assert_eq!(UnverifiedClaims::of(text), None, "{text}");
        }
        assert_eq!(of("[1]"), None);
        assert_eq!(of(r#"{"exp":1e300}"#).unwrap().expires, None);
    }
}
