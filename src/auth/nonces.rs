//! The nonces a client has used of late, so that no request is carried out twice.
//!
//! A request's date holds for 15 minutes either way, so 30 minutes of memory are enough. One exception:
//! aiohttp sends a GET once more, byte by byte, when a pooled connection closes under it; that is
//! answered once more within 10 seconds. The memory is this replica's own.

use std::collections::{HashMap, VecDeque};
use std::hash::{BuildHasher, Hash, Hasher};
use std::time::Duration;

use foldhash::fast::RandomState;
use http::Method;
use http::request::Parts;
use parking_lot::Mutex;
use tokio::time::Instant;

use super::Refused;

/// How long a nonce is remembered.
const MEMORY: Duration = Duration::from_secs(30 * 60);
/// How long a resend may follow.
const RESEND: Duration = Duration::from_secs(10);

/// A request as far as a repetition shows: keyed hashes of 64 bits.
#[derive(Debug, Clone, Copy)]
pub(super) struct Print {
    /// Of the nonce; each client has a memory of its own.
    pub(super) nonce: u64,
    /// Of the whole head.
    pub(super) head: u64,
    /// Whether it changes nothing.
    pub(super) is_get: bool,
}

#[derive(Debug)]
pub(super) struct Nonces {
    capacity: usize,
    /// Drawn at random, so that nobody outside can make two requests look alike.
    hasher: RandomState,
    seen: Mutex<Seen>,
}

#[derive(Debug, Default)]
struct Seen {
    noted: HashMap<u64, Noted, RandomState>,
    by_age: VecDeque<(Instant, u64)>,
}

#[derive(Debug)]
struct Noted {
    at: Instant,
    head: u64,
    may_come_again: bool,
}

/// What noting a nonce cost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Room {
    /// Nothing.
    Enough,
    /// The oldest nonce was forgotten before its time.
    Made,
}

impl Nonces {
    pub(super) fn new(capacity: u32) -> Self {
        Self {
            capacity: capacity as usize,
            hasher: RandomState::default(),
            seen: Mutex::default(),
        }
    }

    /// A request's print.
    pub(super) fn print(&self, head: &Parts, nonce: &str) -> Print {
        let mut whole = self.hasher.build_hasher();
        head.method.hash(&mut whole);
        head.uri.hash(&mut whole);
        for (name, value) in &head.headers {
            name.as_str().hash(&mut whole);
            value.as_bytes().hash(&mut whole);
        }
        Print {
            nonce: self.hasher.hash_one(nonce),
            head: whole.finish(),
            is_get: head.method == Method::GET,
        }
    }

    /// How many are remembered.
    pub(super) fn len(&self) -> usize {
        self.seen.lock().by_age.len()
    }

    /// Notes a verified request's nonce.
    ///
    /// # Errors
    /// [`Refused::NonceUsed`] for a repetition, [`Refused::NoncesFull`] for a write that cannot be
    /// remembered without forgetting another.
    pub(super) fn note(&self, print: Print, now: Instant) -> Result<Room, Refused> {
        let mut seen = self.seen.lock();
        seen.forget_old(now);
        if let Some(noted) = seen.noted.get_mut(&print.nonce) {
            let again = noted.may_come_again
                && noted.head == print.head
                && now.saturating_duration_since(noted.at) <= RESEND;
            noted.may_come_again = false;
            return if again {
                Ok(Room::Enough)
            } else {
                Err(Refused::NonceUsed)
            };
        }
        let mut room = Room::Enough;
        if seen.by_age.len() >= self.capacity {
            if !print.is_get {
                return Err(Refused::NoncesFull);
            }
            seen.forget_oldest();
            room = Room::Made;
        }
        seen.by_age.push_back((now, print.nonce));
        let noted = Noted {
            at: now,
            head: print.head,
            may_come_again: print.is_get,
        };
        seen.noted.insert(print.nonce, noted);
        Ok(room)
    }
}

impl Seen {
    fn forget_old(&mut self, now: Instant) {
        while self
            .by_age
            .front()
            .is_some_and(|(at, _)| now.saturating_duration_since(*at) > MEMORY)
        {
            self.forget_oldest();
        }
    }

    fn forget_oldest(&mut self) {
        if let Some((_, oldest)) = self.by_age.pop_front() {
            self.noted.remove(&oldest);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn print(nonce: u64, head: u64, is_get: bool) -> Print {
        Print {
            nonce,
            head,
            is_get,
        }
    }

    #[test]
    fn a_get_comes_once_more_byte_by_byte_within_ten_seconds() {
        let nonces = Nonces::new(10);
        let now = Instant::now();
        let later = now + RESEND;
        assert_eq!(nonces.note(print(1, 7, true), now), Ok(Room::Enough));
        assert_eq!(nonces.note(print(1, 7, true), later), Ok(Room::Enough));
        assert_eq!(
            nonces.note(print(1, 7, true), later),
            Err(Refused::NonceUsed)
        );
        assert_eq!(nonces.note(print(2, 7, true), now), Ok(Room::Enough));
        let late = later + Duration::from_millis(1);
        assert_eq!(
            nonces.note(print(2, 7, true), late),
            Err(Refused::NonceUsed)
        );
        assert_eq!(nonces.note(print(3, 7, true), now), Ok(Room::Enough));
        assert_eq!(nonces.note(print(3, 8, true), now), Err(Refused::NonceUsed));
    }

    #[test]
    fn a_write_never_comes_again() {
        let nonces = Nonces::new(10);
        let now = Instant::now();
        assert_eq!(nonces.note(print(1, 7, false), now), Ok(Room::Enough));
        assert_eq!(
            nonces.note(print(1, 7, false), now),
            Err(Refused::NonceUsed)
        );
        let end = now + MEMORY;
        assert_eq!(
            nonces.note(print(1, 7, false), end),
            Err(Refused::NonceUsed)
        );
        let after = end + Duration::from_secs(1);
        assert_eq!(nonces.note(print(1, 7, false), after), Ok(Room::Enough));
    }

    #[test]
    fn memory_is_bounded_and_never_at_a_writes_cost() {
        let nonces = Nonces::new(2);
        let now = Instant::now();
        for nonce in 1..=2 {
            assert_eq!(nonces.note(print(nonce, 0, false), now), Ok(Room::Enough));
        }
        assert_eq!(
            nonces.note(print(3, 0, false), now),
            Err(Refused::NoncesFull)
        );
        assert_eq!(nonces.note(print(3, 0, true), now), Ok(Room::Made));
        assert_eq!(nonces.len(), 2);
    }
}
