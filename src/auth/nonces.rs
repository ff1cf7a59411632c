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

use super::{AuthError, Config};

/// Most bytes that one nonce takes, by measurement: 33 to 73 are held for each, 103 while a table grows.
const BYTES_PER_NONCE: u64 = 104;
/// How long a nonce is remembered, in ticks: 30 minutes, and the second that the window gives away, for dates are
/// compared in whole seconds.
const LIFETIME: u32 = (30 * 60 + 1) * TICKS;
/// How long a resend may follow, in ticks.
const RESEND_WINDOW: u32 = 10 * TICKS;
/// Ticks a second. 31 bits of them last for six years.
const TICKS: u32 = 10;

/// A request as far as a repetition shows: keyed hashes.
#[derive(Debug, Clone, Copy)]
pub(super) struct Fingerprint {
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
    max_per_key: usize,
    max_total: usize,
    total: AtomicUsize,
    by_key: Mutex<HashMap<CompactString, Arc<Memory>>>,
    /// Tick of the last sweep.
    last_sweep: AtomicU32,
    epoch: Instant,
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
    /// As many as `table` holds; to be looked at without its lock.
    count: AtomicUsize,
    table: Mutex<NonceTable>,
}

#[derive(Debug, Default)]
struct NonceTable {
    entries: HashMap<u64, NonceEntry, RandomState>,
    /// Oldest first.
    reads: VecDeque<u64>,
    writes: VecDeque<u64>,
}

#[derive(Debug, Clone, Copy)]
struct NonceEntry {
    head: u32,
    /// Ticks since the start, and in the lowest bit whether it may come again.
    tick_and_resendable: u32,
}

/// Cost of noting a nonce.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Capacity {
    /// Nothing.
    Free,
    /// A nonce was forgotten before its time.
    Evicted,
}

impl Nonces {
    pub(super) fn new(config: &Config) -> Arc<Self> {
        let max_total = config.nonces_max_bytes.0 / BYTES_PER_NONCE;
        Arc::new(Self {
            max_per_key: config.nonces_per_client as usize,
            max_total: usize::try_from(max_total).unwrap_or(usize::MAX),
            total: AtomicUsize::new(0),
            by_key: Mutex::default(),
            last_sweep: AtomicU32::new(0),
            epoch: Instant::now(),
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
        self.total.load(Ordering::Relaxed)
    }

    fn tick(&self, now: Instant) -> u32 {
        let since = now.saturating_duration_since(self.epoch);
        let ticks = since.as_millis() * u128::from(TICKS) / 1000;
        u32::try_from(ticks).unwrap_or(u32::MAX) & (u32::MAX >> 1)
    }

    fn try_take(&self) -> bool {
        let take = |total| (total < self.max_total).then_some(total + 1);
        let taken = self
            .total
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, take);
        taken.is_ok()
    }

    /// Forgets what is old, at most once a second, since it looks at every key.
    fn sweep(&self, tick: u32) {
        let last = self.last_sweep.swap(tick, Ordering::Relaxed);
        if last != 0 && tick.saturating_sub(last) < TICKS {
            self.last_sweep.store(last, Ordering::Relaxed);
            return;
        }
        for memory in self.by_key.lock().values() {
            memory.evict_expired(&mut memory.table.lock(), tick, self);
        }
    }

    /// Forgets the oldest GET of the key that has the most nonces.
    fn evict_from_largest(&self) {
        let largest = {
            let by_key = self.by_key.lock();
            let largest = by_key.values().max_by_key(|memory| memory.len());
            largest.cloned()
        };
        if let Some(memory) = largest {
            memory.evict_oldest_read(&mut memory.table.lock(), self);
        }
    }
}

impl KeyNonces {
    /// Whether both are of one key.
    #[cfg(test)]
    pub(super) fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.own, &other.own)
    }

    /// A request's fingerprint.
    pub(super) fn fingerprint(&self, head: &Parts, nonce: &str, is_get: bool) -> Fingerprint {
        let mut whole = self.all.hasher.build_hasher();
        head.method.hash(&mut whole);
        head.uri.hash(&mut whole);
        for (name, value) in &head.headers {
            name.as_str().hash(&mut whole);
            value.as_bytes().hash(&mut whole);
        }
        let whole = whole.finish();
        Fingerprint {
            nonce: self.all.hasher.hash_one(nonce),
            head: (whole ^ (whole >> 32)) as u32,
            is_get,
        }
    }

    /// Notes a verified request's nonce.
    ///
    /// # Errors
    /// [`AuthError::NonceUsed`] for a repetition, [`AuthError::NoncesFull`] for a write that finds no capacity.
    pub(super) fn record(
        &self,
        fingerprint: Fingerprint,
        now: Instant,
    ) -> Result<Capacity, AuthError> {
        let tick = self.all.tick(now);
        let mut capacity = Capacity::Free;
        for _ in 0..ATTEMPTS {
            let mut table = self.own.table.lock();
            self.own.evict_expired(&mut table, tick, &self.all);
            if let Some(entry) = table.entries.get_mut(&fingerprint.nonce) {
                return entry.repeat(fingerprint, tick);
            }
            if table.len() >= self.all.max_per_key {
                if !fingerprint.is_get {
                    return Err(AuthError::NoncesFull);
                }
                capacity = Capacity::Evicted;
                if !self.own.evict_oldest_read(&mut table, &self.all) {
                    // Nothing but writes: this GET is the one that is forgotten.
                    return Ok(capacity);
                }
            }
            if self.all.try_take() {
                table.insert(fingerprint, tick);
                self.own.count.store(table.len(), Ordering::Relaxed);
                return Ok(capacity);
            }
            drop(table);
            self.all.sweep(tick);
            if self.all.len() >= self.all.max_total {
                if !fingerprint.is_get {
                    return Err(AuthError::NoncesFull);
                }
                capacity = Capacity::Evicted;
                self.all.evict_from_largest();
            }
        }
        // Others took the capacity that was made.
        if fingerprint.is_get {
            Ok(Capacity::Evicted)
        } else {
            Err(AuthError::NoncesFull)
        }
    }
}

impl Memory {
    fn len(&self) -> usize {
        self.count.load(Ordering::Relaxed)
    }

    fn evict_expired(&self, table: &mut NonceTable, tick: u32, all: &Nonces) {
        let before = table.len();
        table.evict_expired(tick);
        self.release(before - table.len(), table, all);
    }

    fn evict_oldest_read(&self, table: &mut NonceTable, all: &Nonces) -> bool {
        let oldest = table.reads.pop_front();
        if let Some(nonce) = oldest {
            table.entries.remove(&nonce);
            self.release(1, table, all);
        }
        oldest.is_some()
    }

    fn release(&self, number: usize, table: &NonceTable, all: &Nonces) {
        if number > 0 {
            all.total.fetch_sub(number, Ordering::Relaxed);
            self.count.store(table.len(), Ordering::Relaxed);
        }
    }
}

impl NonceTable {
    fn len(&self) -> usize {
        self.entries.len()
    }

    fn insert(&mut self, fingerprint: Fingerprint, tick: u32) {
        let queue = if fingerprint.is_get {
            &mut self.reads
        } else {
            &mut self.writes
        };
        queue.push_back(fingerprint.nonce);
        let entry = NonceEntry {
            head: fingerprint.head,
            tick_and_resendable: tick << 1 | u32::from(fingerprint.is_get),
        };
        self.entries.insert(fingerprint.nonce, entry);
    }

    fn evict_expired(&mut self, tick: u32) {
        for queue in [&mut self.reads, &mut self.writes] {
            while let Some(nonce) = queue.front() {
                let at = self.entries.get(nonce).map_or(0, |entry| entry.tick());
                if tick.saturating_sub(at) <= LIFETIME {
                    break;
                }
                self.entries.remove(nonce);
                queue.pop_front();
            }
        }
    }
}

impl NonceEntry {
    const fn tick(self) -> u32 {
        self.tick_and_resendable >> 1
    }

    /// Judges a request whose nonce this was. Only the first repetition may be a resend.
    fn repeat(&mut self, fingerprint: Fingerprint, tick: u32) -> Result<Capacity, AuthError> {
        let may_come = self.tick_and_resendable & 1 == 1
            && fingerprint.is_get
            && self.head == fingerprint.head
            && tick.saturating_sub(self.tick()) <= RESEND_WINDOW;
        self.tick_and_resendable &= !1;
        if may_come {
            Ok(Capacity::Free)
        } else {
            Err(AuthError::NonceUsed)
        }
    }
}

/// How often capacity is looked for, where others take what was made.
const ATTEMPTS: usize = 4;

#[cfg(test)]
mod tests;
