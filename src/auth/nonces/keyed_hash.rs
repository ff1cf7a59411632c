//! Hasher of hashes that are keyed already, so that a table of them hashes nothing again.

use std::hash::Hasher;

/// Hasher of one `u64`, which it returns.
#[derive(Debug, Default)]
pub(super) struct KeyedHash(u64);

impl Hasher for KeyedHash {
    fn write_u64(&mut self, hash: u64) {
        self.0 = hash;
    }

    fn write(&mut self, bytes: &[u8]) {
        debug_assert!(bytes.is_empty(), "only hashes of nonces are hashed");
    }

    fn finish(&self) -> u64 {
        self.0
    }
}
