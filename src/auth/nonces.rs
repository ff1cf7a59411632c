//! The nonces of signed requests, so that no request is carried out twice.
//!
//! They are kept by access key, whatever becomes of the client's name or of the clients' file. A request's
//! date holds for 15 minutes either way, so 30 minutes of memory are enough. One exception: aiohttp sends
//! a GET once more, byte by byte, when a pooled connection closes under it; that is answered once more
//! within 10 seconds. The memory is this replica's own; a write is recorded by [`super::writes`] besides.
//!
//! Both bounds, for one key and for all together, act alike: for a GET the oldest GET is forgotten, the
//! one of the key with the most nonces where all together have too many; a write is refused, and its
//! nonce is never forgotten early.

use std::collections::{HashMap, VecDeque};
use std::hash::{BuildHasher, Hash, Hasher};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};

use compact_str::CompactString;
use foldhash::fast::RandomState;
use http::request::Parts;
use parking_lot::Mutex;
use tokio::time::Instant;

use super::{Config, Refused};

/// Most bytes that one nonce takes, by measurement: 33 to 73 are held for each, 103 while a table grows.
const BYTES: u64 = 104;
/// How long a nonce is remembered, in ticks: 30 minutes, and the second that the window gives away, for dates are
/// compared in whole seconds.
const MEMORY: u32 = (30 * 60 + 1) * TICKS;
/// How long a resend may follow, in ticks.
const RESEND: u32 = 10 * TICKS;
/// Ticks a second. 31 bits of them last for six years.
const TICKS: u32 = 10;

/// A request as far as a repetition shows: keyed hashes.
#[derive(Debug, Clone, Copy)]
pub(super) struct Print {
    /// Of the nonce; each key has a memory of its own.
    nonce: u64,
    /// Of the whole head.
    head: u32,
    /// Whether it changes nothing.
    is_get: bool,
}

/// The memory of all keys.
#[derive(Debug)]
pub(super) struct Nonces {
    per_key: usize,
    in_all: usize,
    used: AtomicUsize,
    by_key: Mutex<HashMap<CompactString, Arc<Memory>>>,
    /// Tick of the last sweep.
    swept: AtomicU32,
    began: Instant,
    /// Drawn at random, so that nobody outside can make two requests look alike.
    hasher: RandomState,
}

/// The nonces of one key.
#[derive(Debug, Clone)]
pub(super) struct KeyNonces {
    all: Arc<Nonces>,
    own: Arc<Memory>,
}

#[derive(Debug, Default)]
struct Memory {
    /// As many as `seen` holds; to be looked at without its lock.
    count: AtomicUsize,
    seen: Mutex<Seen>,
}

#[derive(Debug, Default)]
struct Seen {
    noted: HashMap<u64, Noted, RandomState>,
    /// Oldest first.
    reads: VecDeque<u64>,
    writes: VecDeque<u64>,
}

#[derive(Debug, Clone, Copy)]
struct Noted {
    head: u32,
    /// Ticks since the start, and in the lowest bit whether it may come again.
    at_and_again: u32,
}

/// Cost of noting a nonce.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Room {
    /// Nothing.
    Enough,
    /// A nonce was forgotten before its time.
    Made,
}

impl Nonces {
    pub(super) fn new(config: &Config) -> Arc<Self> {
        let in_all = config.nonces_max_bytes.0 / BYTES;
        Arc::new(Self {
            per_key: config.nonces_per_client as usize,
            in_all: usize::try_from(in_all).unwrap_or(usize::MAX),
            used: AtomicUsize::new(0),
            by_key: Mutex::default(),
            swept: AtomicU32::new(0),
            began: Instant::now(),
            hasher: RandomState::default(),
        })
    }

    /// The memory of a key, which is kept while a client has the key or a nonce is in it.
    pub(super) fn of(self: &Arc<Self>, access_key_id: &str) -> KeyNonces {
        let mut by_key = self.by_key.lock();
        by_key.retain(|_, memory| Arc::strong_count(memory) > 1 || memory.len() > 0);
        KeyNonces {
            all: Arc::clone(self),
            own: Arc::clone(by_key.entry(access_key_id.into()).or_default()),
        }
    }

    /// How many are remembered.
    pub(super) fn len(&self) -> usize {
        self.used.load(Ordering::Relaxed)
    }

    fn tick(&self, now: Instant) -> u32 {
        let since = now.saturating_duration_since(self.began);
        let ticks = since.as_millis() * u128::from(TICKS) / 1000;
        u32::try_from(ticks).unwrap_or(u32::MAX) & (u32::MAX >> 1)
    }

    fn try_take(&self) -> bool {
        let take = |used| (used < self.in_all).then_some(used + 1);
        let taken = self
            .used
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, take);
        taken.is_ok()
    }

    /// Forgets what is old, at most once a second, since it looks at every key.
    fn sweep(&self, tick: u32) {
        let last = self.swept.swap(tick, Ordering::Relaxed);
        if last != 0 && tick.saturating_sub(last) < TICKS {
            self.swept.store(last, Ordering::Relaxed);
            return;
        }
        for memory in self.by_key.lock().values() {
            memory.forget_old(&mut memory.seen.lock(), tick, self);
        }
    }

    /// Forgets the oldest GET of the key that has the most nonces.
    fn forget_of_the_largest(&self) {
        let largest = {
            let by_key = self.by_key.lock();
            let largest = by_key.values().max_by_key(|memory| memory.len());
            largest.cloned()
        };
        if let Some(memory) = largest {
            memory.forget_oldest_read(&mut memory.seen.lock(), self);
        }
    }
}

impl KeyNonces {
    /// Whether both are of one key.
    #[cfg(test)]
    pub(super) fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.own, &other.own)
    }

    /// A request's print.
    pub(super) fn print(&self, head: &Parts, nonce: &str, is_get: bool) -> Print {
        let mut whole = self.all.hasher.build_hasher();
        head.method.hash(&mut whole);
        head.uri.hash(&mut whole);
        for (name, value) in &head.headers {
            name.as_str().hash(&mut whole);
            value.as_bytes().hash(&mut whole);
        }
        let whole = whole.finish();
        Print {
            nonce: self.all.hasher.hash_one(nonce),
            head: (whole ^ (whole >> 32)) as u32,
            is_get,
        }
    }

    /// Notes a verified request's nonce.
    ///
    /// # Errors
    /// [`Refused::NonceUsed`] for a repetition, [`Refused::NoncesFull`] for a write that finds no room.
    pub(super) fn note(&self, print: Print, now: Instant) -> Result<Room, Refused> {
        let tick = self.all.tick(now);
        let mut room = Room::Enough;
        for _ in 0..ATTEMPTS {
            let mut seen = self.own.seen.lock();
            self.own.forget_old(&mut seen, tick, &self.all);
            if let Some(noted) = seen.noted.get_mut(&print.nonce) {
                return noted.come_again(print, tick);
            }
            if seen.len() >= self.all.per_key {
                if !print.is_get {
                    return Err(Refused::NoncesFull);
                }
                room = Room::Made;
                if !self.own.forget_oldest_read(&mut seen, &self.all) {
                    // Nothing but writes: this GET is the one that is forgotten.
                    return Ok(room);
                }
            }
            if self.all.try_take() {
                seen.insert(print, tick);
                self.own.count.store(seen.len(), Ordering::Relaxed);
                return Ok(room);
            }
            drop(seen);
            self.all.sweep(tick);
            if self.all.len() >= self.all.in_all {
                if !print.is_get {
                    return Err(Refused::NoncesFull);
                }
                room = Room::Made;
                self.all.forget_of_the_largest();
            }
        }
        // Others took the room that was made.
        if print.is_get {
            Ok(Room::Made)
        } else {
            Err(Refused::NoncesFull)
        }
    }
}

impl Memory {
    fn len(&self) -> usize {
        self.count.load(Ordering::Relaxed)
    }

    fn forget_old(&self, seen: &mut Seen, tick: u32, all: &Nonces) {
        let before = seen.len();
        seen.forget_old(tick);
        self.forgot(before - seen.len(), seen, all);
    }

    fn forget_oldest_read(&self, seen: &mut Seen, all: &Nonces) -> bool {
        let oldest = seen.reads.pop_front();
        if let Some(nonce) = oldest {
            seen.noted.remove(&nonce);
            self.forgot(1, seen, all);
        }
        oldest.is_some()
    }

    fn forgot(&self, number: usize, seen: &Seen, all: &Nonces) {
        if number > 0 {
            all.used.fetch_sub(number, Ordering::Relaxed);
            self.count.store(seen.len(), Ordering::Relaxed);
        }
    }
}

impl Seen {
    fn len(&self) -> usize {
        self.noted.len()
    }

    fn insert(&mut self, print: Print, tick: u32) {
        let queue = if print.is_get {
            &mut self.reads
        } else {
            &mut self.writes
        };
        queue.push_back(print.nonce);
        let noted = Noted {
            head: print.head,
            at_and_again: tick << 1 | u32::from(print.is_get),
        };
        self.noted.insert(print.nonce, noted);
    }

    fn forget_old(&mut self, tick: u32) {
        for queue in [&mut self.reads, &mut self.writes] {
            while let Some(nonce) = queue.front() {
                let at = self.noted.get(nonce).map_or(0, |noted| noted.at());
                if tick.saturating_sub(at) <= MEMORY {
                    break;
                }
                self.noted.remove(nonce);
                queue.pop_front();
            }
        }
    }
}

impl Noted {
    const fn at(self) -> u32 {
        self.at_and_again >> 1
    }

    /// Judges a request whose nonce this was. Only the first repetition may be a resend.
    fn come_again(&mut self, print: Print, tick: u32) -> Result<Room, Refused> {
        let may_come = self.at_and_again & 1 == 1
            && print.is_get
            && self.head == print.head
            && tick.saturating_sub(self.at()) <= RESEND;
        self.at_and_again &= !1;
        if may_come {
            Ok(Room::Enough)
        } else {
            Err(Refused::NonceUsed)
        }
    }
}

/// How often room is looked for, where others take what was made.
const ATTEMPTS: usize = 4;

#[cfg(test)]
mod tests;
