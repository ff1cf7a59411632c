//! Verifying keys: secrets prepared for the HMACs of all algorithms.

use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::{digest, hmac};
use secrecy::{ExposeSecret, SecretString};
use sm3::{Digest as _, Sm3};

use super::Algorithm;

/// Secret prepared to verify many signatures: the hash states after the HMAC pads are computed once. It lacks `Debug`,
/// so that no type that contains it can print the secret.
pub struct VerifyingKey {
    /// Key of ACS3-HMAC-SHA256.
    sha256: Hmac<digest::Context>,
    /// Key of ACS3-HMAC-SM3.
    sm3: Hmac<Sm3>,
    /// Key of ROA v2.
    pub(super) sha1: hmac::Key,
}

impl VerifyingKey {
    /// Prepares a secret.
    #[must_use]
    pub fn new(secret: &SecretString) -> Self {
        let secret = secret.expose_secret().as_bytes();
        Self {
            sha256: Hmac::new(secret),
            sm3: Hmac::new(secret),
            sha1: hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, secret),
        }
    }

    /// Compares the HMAC over a text with the claimed one, in constant time.
    pub(super) fn is_genuine(&self, algorithm: Algorithm, text: &[u8], claimed: &[u8]) -> bool {
        let expected = match algorithm {
            Algorithm::Sha256 => self.sha256.sign(text),
            Algorithm::Sm3 => self.sm3.sign(text),
        };
        verify_slices_are_equal(&expected, claimed).is_ok()
    }
}

/// HMAC (RFC 2104): the hash states after the inner and the outer pad. aws-lc-rs has none with SM3, and copies twice
/// as much for one with SHA-256.
struct Hmac<H> {
    inner: H,
    outer: H,
}

/// State of a hash function with blocks of [`BLOCK_LEN`] and hashes of 32 bytes.
trait HashState: Clone {
    fn start() -> Self;
    fn with(self, bytes: &[u8]) -> Self;
    fn hash(self) -> [u8; 32];
}

impl<H: HashState> Hmac<H> {
    fn new(secret: &[u8]) -> Self {
        let mut block = [0; BLOCK_LEN];
        if let Some(start) = block.get_mut(..secret.len()) {
            start.copy_from_slice(secret);
        } else {
            block[..32].copy_from_slice(&H::start().with(secret).hash());
        }
        let behind = |pad: u8| H::start().with(&block.map(|byte| byte ^ pad));
        Self {
            inner: behind(0x36),
            outer: behind(0x5c),
        }
    }

    fn sign(&self, text: &[u8]) -> [u8; 32] {
        let inner = self.inner.clone().with(text).hash();
        self.outer.clone().with(&inner).hash()
    }
}

impl HashState for digest::Context {
    fn start() -> Self {
        Self::new(&digest::SHA256)
    }

    fn with(mut self, bytes: &[u8]) -> Self {
        self.update(bytes);
        self
    }

    fn hash(self) -> [u8; 32] {
        let mut hash = [0; 32];
        hash.copy_from_slice(self.finish().as_ref());
        hash
    }
}

impl HashState for Sm3 {
    fn start() -> Self {
        Self::new()
    }

    fn with(self, bytes: &[u8]) -> Self {
        self.chain_update(bytes)
    }

    fn hash(self) -> [u8; 32] {
        self.finalize().into()
    }
}

/// Block length of SHA-256 and SM3 in bytes.
const BLOCK_LEN: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hex;

    #[test]
    fn hmac_sm3_is_the_vendors() {
        // darabonba-openapi, python/tests/test_utils.py.
        let signed = Hmac::<Sm3>::new(b"secret").sign(b"source");
        let expected = "b9ff646822f41ef647c1416fa2b8408923828abc0464af6706e18db3e8553da8";
        assert_eq!(hex(&signed), expected);
    }

    /// RFC 4231, test cases 1, 2 and 6.
    #[test]
    fn hmac_sha256_is_the_rfcs() {
        for (secret, text, expected) in [
            (
                &[0x0b; 20][..],
                "Hi There",
                "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7",
            ),
            (
                b"Jefe",
                "what do ya want for nothing?",
                "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843",
            ),
            (
                &[0xaa; 131],
                "Test Using Larger Than Block-Size Key - Hash Key First",
                "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54",
            ),
        ] {
            let signed = Hmac::<digest::Context>::new(secret).sign(text.as_bytes());
            assert_eq!(hex(&signed), expected, "{text}");
        }
    }

    #[test]
    fn a_secret_longer_than_a_block_stands_for_its_hash() {
        let long = [b'k'; BLOCK_LEN + 1];
        let hash = Sm3::digest(long);
        let signed = |secret: &[u8]| Hmac::<Sm3>::new(secret).sign(b"x");
        assert_eq!(signed(&long), signed(&hash));
        assert_ne!(signed(&long), signed(&long[..BLOCK_LEN]));
    }
}
