//! Reasons why a service account's token is refused.

use strum::{IntoStaticStr, VariantNames};

/// Reason why a token is refused. Only the operator learns it: a client gets the answer to an unknown key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error, IntoStaticStr, VariantNames)]
#[strum(serialize_all = "snake_case", prefix = "token_")]
pub enum TokenError {
    /// The token is too long, is no JWT, or lacks a claim that it must have.
    #[error("the token is no complete JWT")]
    Malformed,
    /// No key of the issuer has the token's `kid`.
    #[error("no key of the issuer has the token's kid")]
    UnknownKey,
    /// The token names another algorithm than its key is for.
    #[error("the token's algorithm is not its key's")]
    Algorithm,
    /// The signature is not by the issuer's key.
    #[error("the token's signature is not by the issuer's key")]
    Signature,
    /// The token is of another issuer.
    #[error("the token's iss is not auth.kubernetes.issuer")]
    Issuer,
    /// The token is for another audience.
    #[error("the token's aud has no auth.kubernetes.audience")]
    Audience,
    /// The token has expired.
    #[error("the token has expired")]
    Expired,
    /// The token is not valid yet.
    #[error("the token is not valid yet")]
    NotYetValid,
    /// The token's subject is no client's service account.
    #[error("the token's sub is no client's service account")]
    UnknownSubject,
}

impl TokenError {
    /// Every value of [`TokenError::reason`], so that each counter starts at 0.
    pub(in crate::auth) const REASONS: &[&'static str] = Self::VARIANTS;

    /// Returns the `reason` label of metrics and logs.
    #[must_use]
    pub fn reason(self) -> &'static str {
        self.into()
    }
}
