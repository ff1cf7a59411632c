//! Nonces of the last 15 minutes, none of which may be used again.

use std::collections::{HashSet, VecDeque};
use std::time::{Duration, Instant};

use aws_lc_rs::digest;
use parking_lot::Mutex;

use aliyun_auth::WINDOW_SECONDS;

/// Set of recent nonces. It stores fingerprints of 16 bytes, so that a long nonce costs the same as a short
/// one, and at most [`Nonces::CAPACITY`] of them: beyond that the oldest is removed.
#[derive(Debug, Default)]
pub(super) struct Nonces {
    seen: Mutex<SeenNonces>,
}

#[derive(Debug, Default)]
struct SeenNonces {
    fingerprints: HashSet<[u8; 16]>,
    by_age: VecDeque<(Instant, [u8; 16])>,
}

impl Nonces {
    const CAPACITY: usize = 1_000_000;
    const WINDOW: Duration = Duration::from_secs(WINDOW_SECONDS.unsigned_abs());

    /// Records a nonce and returns true if it is new.
    pub(super) fn is_new(&self, nonce: &str, now: Instant) -> bool {
        let fingerprint = fingerprint(nonce);
        let mut seen = self.seen.lock();
        seen.forget(now, Self::CAPACITY);
        if !seen.fingerprints.insert(fingerprint) {
            return false;
        }
        seen.by_age.push_back((now, fingerprint));
        true
    }

    /// Returns the number of nonces in memory.
    pub(super) fn len(&self) -> usize {
        self.seen.lock().by_age.len()
    }
}

impl SeenNonces {
    /// Removes nonces that are too old, and the oldest while there is no room for one more.
    fn forget(&mut self, now: Instant, capacity: usize) {
        while let Some((noted, oldest)) = self.by_age.front() {
            let expired = now.duration_since(*noted) > Nonces::WINDOW;
            if !expired && self.by_age.len() < capacity {
                break;
            }
            self.fingerprints.remove(oldest);
            self.by_age.pop_front();
        }
    }
}

fn fingerprint(nonce: &str) -> [u8; 16] {
    let hash = digest::digest(&digest::SHA256, nonce.as_bytes());
    *hash
        .as_ref()
        .first_chunk()
        .expect("a SHA-256 hash is longer than 16 bytes")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_nonce_is_new_once_in_fifteen_minutes() {
        let nonces = Nonces::default();
        let start = Instant::now();
        assert!(nonces.is_new("a", start) && nonces.is_new("b", start));
        assert!(!nonces.is_new("a", start + Nonces::WINDOW));
        let later = start + Nonces::WINDOW + Duration::from_secs(1);
        assert!(nonces.is_new("a", later));
        assert_eq!(nonces.len(), 1, "the other one was forgotten too");
    }

    #[test]
    fn the_oldest_makes_room() {
        let mut seen = SeenNonces::default();
        let now = Instant::now();
        for byte in 0..5 {
            seen.forget(now, 3);
            seen.fingerprints.insert([byte; 16]);
            seen.by_age.push_back((now, [byte; 16]));
        }
        assert_eq!((seen.by_age.len(), seen.fingerprints.len()), (3, 3));
        assert!(!seen.fingerprints.contains(&[1; 16]) && seen.fingerprints.contains(&[2; 16]));
    }
}
