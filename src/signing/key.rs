//! A key to verify with.

use aws_lc_rs::hmac;
use secrecy::{ExposeSecret, SecretString};

/// A secret made ready to verify many signatures. It has no `Debug`: nothing that holds one can print it.
pub struct VerifyingKey {
    /// For ACS3.
    pub(super) sha256: hmac::Key,
    /// For ROA v2.
    pub(super) sha1: hmac::Key,
}

impl VerifyingKey {
    /// Makes a secret ready.
    #[must_use]
    pub fn new(secret: &SecretString) -> Self {
        let secret = secret.expose_secret().as_bytes();
        Self {
            sha256: hmac::Key::new(hmac::HMAC_SHA256, secret),
            sha1: hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, secret),
        }
    }
}
