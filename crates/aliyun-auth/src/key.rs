//! Verifying keys: secrets prepared for the HMACs of all algorithms.

use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::hmac;
use secrecy::{ExposeSecret, SecretString};
use sm3::{Digest as _, Sm3};

use super::Algorithm;

/// Secret prepared to verify many signatures: the hash states after the HMAC pads are computed once. It lacks `Debug`,
/// so that no type that contains it can print the secret.
pub struct VerifyingKey {
    /// Key of ACS3-HMAC-SHA256.
    sha256: hmac::Key,
    /// Key of ACS3-HMAC-SM3.
    sm3: HmacSm3,
    /// Key of ROA v2.
    pub(super) sha1: hmac::Key,
}

impl VerifyingKey {
    /// Prepares a secret.
    #[must_use]
    pub fn new(secret: &SecretString) -> Self {
        let secret = secret.expose_secret().as_bytes();
        Self {
            sha256: hmac::Key::new(hmac::HMAC_SHA256, secret),
            sm3: HmacSm3::new(secret),
            sha1: hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, secret),
        }
    }

    /// Compares the HMAC over a text with the claimed one, in constant time.
    pub(super) fn is_genuine(&self, algorithm: Algorithm, text: &[u8], claimed: &[u8]) -> bool {
        match algorithm {
            Algorithm::Sha256 => hmac::verify(&self.sha256, text, claimed).is_ok(),
            Algorithm::Sm3 => verify_slices_are_equal(&self.sm3.sign(text), claimed).is_ok(),
        }
    }
}

/// HMAC (RFC 2104) with SM3, which aws-lc-rs lacks: the hash states after the inner and the outer pad.
struct HmacSm3 {
    inner: Sm3,
    outer: Sm3,
}

impl HmacSm3 {
    fn new(secret: &[u8]) -> Self {
        let mut block = [0; BLOCK_LEN];
        if let Some(start) = block.get_mut(..secret.len()) {
            start.copy_from_slice(secret);
        } else {
            block[..32].copy_from_slice(&Sm3::digest(secret));
        }
        let behind = |pad: u8| Sm3::new().chain_update(block.map(|byte| byte ^ pad));
        Self {
            inner: behind(0x36),
            outer: behind(0x5c),
        }
    }

    fn sign(&self, text: &[u8]) -> [u8; 32] {
        let inner = self.inner.clone().chain_update(text).finalize();
        self.outer.clone().chain_update(inner).finalize().into()
    }
}

/// Block length of SM3 in bytes.
const BLOCK_LEN: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hex;

    #[test]
    fn hmac_sm3_is_the_vendors() {
        // darabonba-openapi, python/tests/test_utils.py.
        let signed = HmacSm3::new(b"secret").sign(b"source");
        let expected = "b9ff646822f41ef647c1416fa2b8408923828abc0464af6706e18db3e8553da8";
        assert_eq!(hex(&signed), expected);
    }

    #[test]
    fn a_secret_longer_than_a_block_stands_for_its_hash() {
        let long = [b'k'; BLOCK_LEN + 1];
        let hash = Sm3::digest(long);
        assert_eq!(
            HmacSm3::new(&long).sign(b"x"),
            HmacSm3::new(&hash).sign(b"x")
        );
        assert_ne!(
            HmacSm3::new(&long).sign(b"x"),
            HmacSm3::new(&long[..BLOCK_LEN]).sign(b"x")
        );
    }
}
