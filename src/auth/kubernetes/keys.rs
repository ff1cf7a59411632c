//! Public keys of the issuer, from a JSON Web Key Set (RFC 7517).

use std::collections::HashMap;

use jsonwebtoken::jwk::{AlgorithmParameters, EllipticCurve, Jwk, KeyAlgorithm, PublicKeyUse};
use jsonwebtoken::{Algorithm, DecodingKey};
use serde::Deserialize;
use serde_json::Value;

/// Longest key set, in bytes; a key of 4,096 bits takes 800.
pub(super) const MAX_LENGTH: usize = 64 << 10;
/// Largest number of usable keys in a set. A cluster has one, and two while it rotates.
const MAX_KEYS: usize = 32;

/// Keys of one set by their `kid`.
#[derive(Debug)]
pub(super) struct IssuerKeys(HashMap<String, IssuerKey>);

/// One public key, with the only algorithm that it verifies.
#[derive(Debug)]
pub(super) struct IssuerKey {
    pub(super) algorithm: Algorithm,
    pub(super) key: DecodingKey,
}

/// Defect of a key set.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidKeySet {
    /// The document is longer than 64 KiB.
    #[error("the key set is longer than 64 KiB")]
    TooLong,
    /// The document is no JSON object with a list `keys`.
    #[error("it is no JSON Web Key Set")]
    Unreadable,
    /// No key of the set has a `kid` and a supported algorithm.
    #[error("the key set has no key with a kid for RS256, ES256 or ES384")]
    Empty,
    /// The set has more than 32 keys.
    #[error("the key set has more than 32 keys")]
    TooMany,
}

#[derive(Deserialize)]
struct KeySet {
    keys: Vec<Value>,
}

impl IssuerKeys {
    /// Parses a key set. Keys of other kinds are left out, as RFC 7517 §5 advises.
    ///
    /// # Errors
    /// [`InvalidKeySet`] for a document that is too long, no key set, or without a usable key.
    pub(super) fn parse(json: &[u8]) -> Result<Self, InvalidKeySet> {
        if json.len() > MAX_LENGTH {
            return Err(InvalidKeySet::TooLong);
        }
        let set: KeySet = serde_json::from_slice(json).map_err(|_| InvalidKeySet::Unreadable)?;
        let jwks = set.keys.into_iter().map(serde_json::from_value::<Jwk>);
        let keys: HashMap<_, _> = jwks.filter_map(|jwk| usable(&jwk.ok()?)).collect();
        match keys.len() {
            0 => Err(InvalidKeySet::Empty),
            1..=MAX_KEYS => Ok(Self(keys)),
            _ => Err(InvalidKeySet::TooMany),
        }
    }

    pub(super) fn get(&self, key_id: &str) -> Option<&IssuerKey> {
        self.0.get(key_id)
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }
}

/// Returns the key with its `kid`; `None` for one without, for one that does not sign, and for another kind.
fn usable(jwk: &Jwk) -> Option<(String, IssuerKey)> {
    let signs = |usage: &PublicKeyUse| *usage == PublicKeyUse::Signature;
    if !jwk.common.public_key_use.as_ref().is_none_or(signs) {
        return None;
    }
    let key = IssuerKey {
        algorithm: algorithm(jwk)?,
        key: DecodingKey::from_jwk(jwk).ok()?,
    };
    Some((jwk.common.key_id.clone()?, key))
}

/// Returns the one algorithm of a key by its type. These are the API server's own, but for ES512. A set may name the
/// algorithm too, and then the same.
fn algorithm(jwk: &Jwk) -> Option<Algorithm> {
    let (algorithm, named) = match &jwk.algorithm {
        AlgorithmParameters::RSA(_) => (Algorithm::RS256, KeyAlgorithm::RS256),
        AlgorithmParameters::EllipticCurve(key) => match key.curve {
            EllipticCurve::P256 => (Algorithm::ES256, KeyAlgorithm::ES256),
            EllipticCurve::P384 => (Algorithm::ES384, KeyAlgorithm::ES384),
            _ => return None,
        },
        _ => return None,
    };
    let is_named = |name: KeyAlgorithm| name == named;
    jwk.common
        .key_algorithm
        .is_none_or(is_named)
        .then_some(algorithm)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// The public key of RFC 7517 A.1, as a signing key with a kid.
    fn rsa(key_id: &str) -> Value {
        json!({
            "kty": "RSA", "e": "AQAB", "use": "sig", "kid": key_id,
            "n": "0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L6tSoc_BJECPebWKRXjBZCiFV4n3oknjhMstn64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-65YGjQR0_FDW2QvzqY368QQMicAtaSqzs8KJZgnYb9c7d0zgdAZHzu6qMQvRL5hajrn1n91CbOpbISD08qNLyrdkt-bFTWhAI4vMQFh6WeZu0fM4lFd2NcRwr3XPksINHaQ-G_xBniIqbw0Ls1jF44-csFCur-kEgU8awapJzKnqDKgw",
        })
    }

    fn changed(name: &str, value: Value) -> Value {
        let mut key = rsa("changed");
        key[name] = value;
        key
    }

    fn parse(keys: &[Value]) -> Result<usize, InvalidKeySet> {
        let set = json!({ "keys": keys }).to_string();
        IssuerKeys::parse(set.as_bytes()).map(|keys| keys.len())
    }

    #[test]
    fn keys_that_do_not_sign_are_left_out() {
        let unusable = [
            changed("use", json!("enc")),
            changed("alg", json!("PS256")),
            changed("alg", json!("HS256")),
            changed("kid", json!(null)),
            changed("n", json!("=")),
            changed("kty", json!("oct")),
            changed("kty", json!("new")),
            json!({}),
            json!(1),
        ];
        for key in unusable {
            assert_eq!(parse(&[rsa("a"), key.clone()]), Ok(1), "{key}");
            assert_eq!(
                parse(std::slice::from_ref(&key)),
                Err(InvalidKeySet::Empty),
                "{key}"
            );
        }
        let without_hints = json!({ "kty": "RSA", "kid": "b", "n": rsa("b")["n"], "e": "AQAB" });
        assert_eq!(parse(&[rsa("a"), without_hints]), Ok(2));
    }

    #[test]
    fn a_key_set_is_bounded() {
        let many = |count: usize| (0..count).map(|n| rsa(&n.to_string())).collect::<Vec<_>>();
        assert_eq!(parse(&many(32)), Ok(32));
        assert_eq!(parse(&many(33)), Err(InvalidKeySet::TooMany));
        assert_eq!(parse(&many(200)), Err(InvalidKeySet::TooLong));
        for text in ["", "{}", "[]", r#"{"keys":1}"#] {
            let parsed = IssuerKeys::parse(text.as_bytes()).map(|keys| keys.len());
            assert_eq!(parsed, Err(InvalidKeySet::Unreadable), "{text}");
        }
    }
}
