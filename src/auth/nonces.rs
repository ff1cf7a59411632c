//! Nonces of signed requests, so that no request is executed twice.
//!
//! Nonces are remembered per access key and survive a change of the client's name or of the clients' file. A date is
//! valid for 15 minutes in both directions, so a nonce is remembered for 30 minutes. There is one exception: aiohttp
//! resends a GET byte for byte when a pooled connection closes. One such resend within 10 seconds is accepted. The
//! memory is local to the replica; [`super::writes`] records writes durably as well.
//!
//! At the limit of one key, or of all keys together, a GET evicts the oldest GET: of its key, or of the key with the
//! most nonces. A write is rejected instead, and the nonce of a write is never evicted.
//!
//! Locks: only [`Nonces::sweep`] holds two at once, first the map of keys and then one table. No thread holds a table
//! while it locks the map.

mod keyed_hash;

use std::collections::{HashMap, VecDeque};
use std::hash::{BuildHasher, BuildHasherDefault, Hash, Hasher};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};

use compact_str::CompactString;
use foldhash::fast::RandomState;
use http::request::Parts;
use parking_lot::Mutex;
use tokio::time::Instant;

use super::{AuthError, Config};
use keyed_hash::KeyedHash;

/// Memory of one nonce in bytes, measured: 33 to 73 usually, 103 while a table grows.
const BYTES_PER_NONCE: u64 = 104;
/// Lifetime of a nonce in ticks: 30 minutes, and one second more because dates are compared in whole seconds.
const LIFETIME: u32 = (30 * 60 + 1) * TICKS;
/// Period in which a resend is accepted, in ticks.
const RESEND_WINDOW: u32 = 10 * TICKS;
/// Ticks per second. 31 bits of them last for six years.
const TICKS: u32 = 10;

/// Keyed hashes of a request, by which a repetition is recognized.
#[derive(Debug, Clone, Copy)]
pub(super) struct Fingerprint {
    /// Hash of the nonce; each access key has a table of its own.
    nonce: u64,
    /// Hash of method, URI and all headers.
    head: u32,
    /// The request changes nothing.
    is_get: bool,
}

/// Nonces of all access keys, and the limits for them.
#[derive(Debug)]
pub(super) struct Nonces {
    max_per_key: usize,
    max_total: usize,
    total: AtomicUsize,
    by_key: Mutex<HashMap<CompactString, Arc<Memory>>>,
    /// Tick of the last sweep; 0 before the first.
    last_sweep: AtomicU32,
    /// Start of tick 0.
    epoch: Instant,
    /// Seeded at random, so that a client cannot construct two requests with equal hashes.
    hasher: RandomState,
}

/// Handle to the nonces of one access key.
#[derive(Debug, Clone)]
pub(super) struct KeyNonces {
    all: Arc<Nonces>,
    own: Arc<Memory>,
}

#[derive(Debug, Default)]
struct Memory {
    /// Number of entries in `table`, readable without its lock.
    count: AtomicUsize,
    table: Mutex<NonceTable>,
}

#[derive(Debug, Default)]
struct NonceTable {
    entries: HashMap<u64, NonceEntry, BuildHasherDefault<KeyedHash>>,
    /// Hashes of the nonces of GETs, oldest first.
    reads: VecDeque<u64>,
    writes: VecDeque<u64>,
    /// Tick in which expired nonces were last evicted.
    evicted_at: u32,
}

#[derive(Debug, Clone, Copy)]
struct NonceEntry {
    head: u32,
    /// Tick of the request in the upper 31 bits; the lowest bit is set while a resend is acceptable.
    tick_and_resendable: u32,
}

/// Effect of recording a nonce on the others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Capacity {
    /// There was space.
    Free,
    /// A nonce was evicted before the end of its lifetime.
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

    /// Returns the nonces of a key. They are kept while a client has the key, and while any is younger than 30 minutes.
    pub(super) fn of(self: &Arc<Self>, access_key_id: &str) -> KeyNonces {
        let mut by_key = self.by_key.lock();
        by_key.retain(|_, memory| Arc::strong_count(memory) > 1 || memory.len() > 0);
        KeyNonces {
            all: Arc::clone(self),
            own: Arc::clone(by_key.entry(access_key_id.into()).or_default()),
        }
    }

    /// Returns the number of remembered nonces.
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

    /// Evicts expired nonces of every key, at most once per second because it visits all keys.
    fn sweep(&self, tick: u32) {
        let last = self.last_sweep.swap(tick, Ordering::Relaxed);
        // Two threads may swap at once. Then one of them puts back the other's tick, and the next sweep is at most a
        // second late.
        if last != 0 && tick.saturating_sub(last) < TICKS {
            self.last_sweep.store(last, Ordering::Relaxed);
            return;
        }
        for memory in self.by_key.lock().values() {
            memory.evict_expired(&mut memory.table.lock(), tick, self);
        }
    }

    /// Evicts the oldest GET of the key that has the most nonces.
    fn evict_from_largest(&self) {
        // The map is unlocked again before the table is locked, so that other keys need not wait.
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
    /// Returns whether both handles are of one key.
    #[cfg(test)]
    pub(super) fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.own, &other.own)
    }

    /// Computes a request's fingerprint.
    pub(super) fn fingerprint(&self, head: &Parts, nonce: &str, is_get: bool) -> Fingerprint {
        let mut whole = self.all.hasher.build_hasher();
        head.method.hash(&mut whole);
        head.uri.hash(&mut whole);
        for (name, value) in &head.headers {
            // Both lengths as one number; `hash` would write an end or a length for each text.
            let (name, value) = (name.as_str().as_bytes(), value.as_bytes());
            whole.write_u64((name.len() as u64) << 32 | value.len() as u64);
            whole.write(name);
            whole.write(value);
        }
        let whole = whole.finish();
        Fingerprint {
            nonce: self.all.hasher.hash_one(nonce),
            head: (whole ^ (whole >> 32)) as u32,
            is_get,
        }
    }

    /// Records the nonce of a request whose signature was verified.
    ///
    /// # Errors
    /// [`AuthError::NonceUsed`] for a repetition, [`AuthError::NoncesFull`] for a write beyond a limit.
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
                    // The table has only writes, so this GET itself is not remembered.
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
        // Other requests took the space that each attempt had made.
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
        if table.evicted_at == tick {
            return;
        }
        table.evicted_at = tick;
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

    /// Judges a repetition of the nonce. Only the first one can be a resend.
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

/// Attempts to find space while other requests take what was evicted for this one.
const ATTEMPTS: usize = 4;

#[cfg(test)]
mod tests;
