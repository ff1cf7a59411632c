//! Verification of a service account's token: a JWT (RFC 7519) that the cluster's API server has signed.
//!
//! The issuer's key decides on the algorithm; a token that names another is refused before its signature is looked
//! at, so neither `none` nor an HMAC with a public key as its secret passes. Everything is bounded by the token's
//! length, which is checked first.

use std::sync::Arc;

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use jiff::Timestamp;
use jsonwebtoken::errors::ErrorKind;
use jsonwebtoken::{Algorithm, Validation, decode};
use serde::Deserialize;
use serde::de::IgnoredAny;

use super::TokenError;
use super::keys::IssuerKeys;

/// Longest token, in bytes. A projected token has some 1,200.
pub(super) const MAX_LENGTH: usize = 8 << 10;
/// Difference of two clocks that `exp` and `nbf` tolerate, in seconds: the API server tolerates as much.
const LEEWAY: i64 = 60;
/// Beginning of the `sub` of each service account's token.
const SUBJECT_PREFIX: &str = "system:serviceaccount:";

/// Claims that a token must have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ExpectedClaims {
    pub(super) issuer: String,
    pub(super) audience: String,
}

/// Result of a verification, which holds until the token expires.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct VerifiedToken {
    /// `NAMESPACE:NAME` of the service account.
    pub(super) account: Arc<str>,
    /// `exp`: seconds since 1970.
    expires: i64,
}

impl VerifiedToken {
    /// Checks that the token has not expired.
    ///
    /// # Errors
    /// [`TokenError::Expired`] 60 s after its `exp`.
    pub(super) fn check_expiry(&self, now: Timestamp) -> Result<(), TokenError> {
        if now.as_second() > self.expires.saturating_add(LEEWAY) {
            return Err(TokenError::Expired);
        }
        Ok(())
    }
}

/// Header of a token, as far as it selects the key.
#[derive(Deserialize)]
struct TokenHeader {
    alg: String,
    kid: Option<String>,
    /// Extensions that a verifier must understand (RFC 7515 §4.1.11); none is understood here.
    crit: Option<IgnoredAny>,
}

#[derive(Deserialize)]
struct Claims {
    exp: serde_json::Number,
    nbf: Option<serde_json::Number>,
    sub: String,
}

/// Returns whether a bearer token has the form of a JWT; others are looked up by their hash alone.
pub(in crate::auth) fn is_jwt(token: &str) -> bool {
    token.bytes().filter(|byte| *byte == b'.').count() == 2
}

/// Verifies a token: its length, key, algorithm, signature, issuer, audience, times, and that its subject is a service
/// account.
///
/// # Errors
/// [`TokenError`], the first that applies in this order.
pub(super) fn verify(
    token: &str,
    keys: &IssuerKeys,
    expected: &ExpectedClaims,
    now: Timestamp,
) -> Result<VerifiedToken, TokenError> {
    let header = header(token)?;
    let key = header.kid.and_then(|key_id| keys.get(&key_id));
    let key = key.ok_or(TokenError::UnknownKey)?;
    if header.alg.parse() != Ok(key.algorithm) {
        return Err(TokenError::Algorithm);
    }
    let claims = decode::<Claims>(token, &key.key, &expected.validation(key.algorithm))
        .map_err(|error| reason(error.kind()))?
        .claims;
    let verified = VerifiedToken {
        expires: seconds(&claims.exp)?,
        account: account(&claims.sub)?.into(),
    };
    verified.check_expiry(now)?;
    let valid_from = claims.nbf.as_ref().map(seconds).transpose()?;
    if valid_from.is_some_and(|from| from > now.as_second().saturating_add(LEEWAY)) {
        return Err(TokenError::NotYetValid);
    }
    Ok(verified)
}

fn header(token: &str) -> Result<TokenHeader, TokenError> {
    if token.len() > MAX_LENGTH {
        return Err(TokenError::Malformed);
    }
    let (header, _) = token.split_once('.').ok_or(TokenError::Malformed)?;
    let json = BASE64_URL_SAFE_NO_PAD.decode(header).ok();
    let header: Option<TokenHeader> = json.and_then(|json| serde_json::from_slice(&json).ok());
    header
        .filter(|header| header.crit.is_none())
        .ok_or(TokenError::Malformed)
}

impl ExpectedClaims {
    /// Returns the checks of the library. Expiry is checked here instead, by the caller's `now`.
    fn validation(&self, algorithm: Algorithm) -> Validation {
        let mut validation = Validation::new(algorithm);
        validation.set_issuer(&[&self.issuer]);
        validation.set_audience(&[&self.audience]);
        validation.set_required_spec_claims(&["iss", "aud", "sub", "exp"]);
        validation.validate_exp = false;
        validation
    }
}

fn reason(error: &ErrorKind) -> TokenError {
    match error {
        ErrorKind::InvalidSignature => TokenError::Signature,
        ErrorKind::InvalidAlgorithm => TokenError::Algorithm,
        ErrorKind::InvalidIssuer => TokenError::Issuer,
        ErrorKind::InvalidAudience => TokenError::Audience,
        ErrorKind::MissingRequiredClaim(claim) => match claim.as_str() {
            "iss" => TokenError::Issuer,
            "aud" => TokenError::Audience,
            _ => TokenError::Malformed,
        },
        _ => TokenError::Malformed,
    }
}

/// Returns a time in seconds; a fraction, which RFC 7519 permits, is cut off.
fn seconds(time: &serde_json::Number) -> Result<i64, TokenError> {
    time.as_i64()
        .or_else(|| time.as_f64().map(|seconds| seconds as i64))
        .ok_or(TokenError::Malformed)
}

/// Returns `NAMESPACE:NAME` of `system:serviceaccount:NAMESPACE:NAME`.
fn account(subject: &str) -> Result<&str, TokenError> {
    subject
        .strip_prefix(SUBJECT_PREFIX)
        .ok_or(TokenError::UnknownSubject)
}

#[cfg(test)]
mod tests;
