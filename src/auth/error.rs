//! Errors of authentication.

use strum::{IntoStaticStr, VariantNames};

use super::TokenError;

/// Failure to authenticate a request. It contains no secret: neither the key's secret, nor a token, nor the expected
/// signature.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error, IntoStaticStr, VariantNames)]
#[strum(serialize_all = "snake_case")]
pub enum AuthError {
    /// The request has no credential.
    #[error("the request has no credential")]
    NoCredential,
    /// The credential has a form that this gateway does not support.
    #[error("the credential is not of a form that this gateway takes: {0}")]
    Unreadable(&'static str),
    /// A header that the signature must cover is not covered, or does not occur exactly once.
    #[error("the signature does not cover a header that it must cover, once: {0}")]
    Unsigned(&'static str),
    /// This gateway has not issued the key, token or certificate name.
    #[error("this gateway has not issued the key")]
    UnknownKey,
    /// The token of a service account is refused; clients cannot tell this from an unknown key.
    #[error(transparent)]
    Token(TokenError),
    /// The key is one of the cloud itself; this gateway accepts only keys that its operator issued.
    #[error("the key is one of the cloud itself, not of this gateway")]
    CloudKey,
    /// The date differs from the gateway's clock by more than 15 minutes.
    #[error("the date differs from the gateway's clock by more than 15 minutes")]
    Expired,
    /// The date has another form.
    #[error("the date is unreadable")]
    BadDate,
    /// The request is for another version of the API.
    #[error("the request is for another version of the API")]
    Version,
    /// `x-acs-action` and the path name different operations.
    #[error("x-acs-action names another operation than the path")]
    Action,
    /// The signature belongs to another request or to another key.
    #[error("the signature belongs to another request or to another key")]
    #[strum(serialize = "signature")]
    Mismatch,
    /// The request has an ROA v2 signature, and its query decodes to the same text as another query.
    #[error(
        "an ROA v2 signature covers the decoded query, where the & or = in this one reads as a separator: sign with ACS3-HMAC-SHA256"
    )]
    Ambiguous,
    /// The hash of the body differs from the signed one.
    #[error("the body is not the one that was signed: its hash differs from x-acs-content-sha256")]
    Body,
    /// An earlier request had the same nonce.
    #[error("an earlier request had the same nonce")]
    NonceUsed,
    /// A limit of remembered nonces leaves no space for one more write.
    #[error("too many requests in the last 30 minutes to tell a repeated write from a new one")]
    NoncesFull,
    /// The nonce of the write could not be recorded, so the write was not sent.
    #[error(
        "the nonce of this write cannot be recorded now, so the write was not sent: sign and send it again later"
    )]
    NotRecorded,
    /// The key requires a security token, and the request has none.
    #[error("the key requires a security token")]
    NoToken,
    /// The security token is not the key's.
    #[error("the security token is not the key's")]
    WrongToken,
    /// The connection does not protect a bearer token or an unsigned body.
    #[error("{0}")]
    Exposed(&'static str),
}

impl AuthError {
    /// Values of [`AuthError::reason`] but for those of [`TokenError`], so that each counter starts at 0.
    pub const REASONS: &[&'static str] = Self::VARIANTS;

    /// Returns the `reason` label of metrics and logs.
    #[must_use]
    pub fn reason(self) -> &'static str {
        match self {
            Self::Token(error) => error.reason(),
            error => error.into(),
        }
    }
}
