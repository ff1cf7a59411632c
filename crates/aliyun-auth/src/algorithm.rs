//! The HMAC algorithms of ACS3, which differ in the hash function alone.

use aws_lc_rs::digest;
use sm3::{Digest as _, Sm3};

/// Hash function of an ACS3 signature, used for the body, the canonical request and the HMAC.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Algorithm {
    /// SHA-256, the default of every SDK.
    Sha256,
    /// SM3 (GB/T 32905), which Python's and Java's SDKs offer as `ACS3-HMAC-SM3`.
    Sm3,
}

impl Algorithm {
    /// Both algorithms, the default of the SDKs first.
    pub const ALL: [Self; 2] = [Self::Sha256, Self::Sm3];

    /// Returns the algorithm's name: first word of `Authorization` and first line of the string to sign.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Sha256 => "ACS3-HMAC-SHA256",
            Self::Sm3 => "ACS3-HMAC-SM3",
        }
    }

    /// Hashes a body or a canonical request.
    #[must_use]
    pub fn hash(self, bytes: &[u8]) -> [u8; 32] {
        let mut hash = [0; 32];
        match self {
            Self::Sha256 => {
                hash.copy_from_slice(digest::digest(&digest::SHA256, bytes).as_ref());
            }
            Self::Sm3 => hash.copy_from_slice(&Sm3::digest(bytes)),
        }
        hash
    }

    /// Returns the hash of an empty body in lower-case hexadecimal, as every SDK sends it.
    #[must_use]
    pub const fn empty_hash(self) -> &'static str {
        match self {
            Self::Sha256 => "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
            Self::Sm3 => "1ab21d8355cfa17f8e61194831e81a8f22bec8c728fefb747ed035eb5082aa2b",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hex;

    #[test]
    fn hashes_are_the_published_ones() {
        for algorithm in Algorithm::ALL {
            assert_eq!(hex(&algorithm.hash(b"")), algorithm.empty_hash());
        }
        // GB/T 32905-2016, example A.1; and the vendor's unit test.
        for (text, hash) in [
            (
                "abc",
                "66c7f0f462eeedd9d1f2d46bdc10e4e24167c4875cf2f7a2297da02b8f4ba8e0",
            ),
            (
                "test",
                "55e12e91650d2fec56ec74e1d3e4ddbfce2ef3a65890c2a19ecf88a307e76a23",
            ),
        ] {
            assert_eq!(hex(&Algorithm::Sm3.hash(text.as_bytes())), hash);
        }
    }
}
