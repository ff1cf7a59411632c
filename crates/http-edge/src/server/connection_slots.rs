//! Slots for connections on a listener: the number of open connections, and the connection that makes room when all
//! slots are taken.
//!
//! - [`EvictionPolicy::RefuseNew`]: a new connection is refused. For a port without authentication.
//! - [`EvictionPolicy::OldestUnauthenticated`]: the unauthenticated connections of one peer address may take at most
//!   half of all slots; the oldest of them is evicted for a new connection. An authenticated connection keeps its
//!   slot. Loopback and Unix sockets have no such share, because a proxy on this machine looks like one peer.
//! - [`EvictionPolicy::LongestIdle`]: the connection that has been idle for the longest is evicted. For probes, which
//!   must be answered even if other clients keep connections open.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::peer::Peer;

/// Rule for a new connection on a listener whose slots are all taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EvictionPolicy {
    /// The new connection is refused.
    RefuseNew,
    /// The oldest unauthenticated connection is evicted.
    OldestUnauthenticated,
    /// The connection that has been idle for the longest is evicted.
    LongestIdle,
}

/// Slots of one listener.
#[derive(Debug)]
pub(super) struct ConnectionSlots {
    max: usize,
    policy: EvictionPolicy,
    table: Mutex<SlotTable>,
}

/// Slot of one connection; dropping it gives the slot back.
#[derive(Debug)]
pub(super) struct ConnectionSlot {
    slots: Arc<ConnectionSlots>,
    tracked: Option<TrackedConnection>,
}

#[derive(Debug)]
struct TrackedConnection {
    group: PeerGroup,
    leave: CancellationToken,
    state: Mutex<SlotState>,
}

/// State of a tracked connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum SlotState {
    /// It can be evicted; the number orders the candidates.
    Candidate(u64),
    /// It keeps its slot: it is authenticated, or a request is running.
    Pinned,
    /// Its slot has been given to another connection.
    Evicted,
}

/// Peers that share one allowance: an IPv4 address, or an IPv6 network of 64 bits, since one host
/// commonly holds all addresses of such a network.
type PeerGroup = Option<IpAddr>;

#[derive(Debug, Default)]
struct SlotTable {
    open: usize,
    next: u64,
    candidates: BTreeMap<u64, EvictionCandidate>,
    by_group: HashMap<PeerGroup, BTreeSet<u64>>,
}

#[derive(Debug)]
struct EvictionCandidate {
    since: Instant,
    group: PeerGroup,
    leave: CancellationToken,
}

/// Age below which a connection is not evicted, so that a flood cannot evict a client between its connect and
/// its first request.
const GRACE: Duration = Duration::from_secs(1);

impl ConnectionSlots {
    pub(super) fn new(max: usize, policy: EvictionPolicy) -> Arc<Self> {
        Arc::new(Self {
            max,
            policy,
            table: Mutex::new(SlotTable::default()),
        })
    }

    /// Takes a slot for a connection from `peer`; returns `None` if it must be refused. Cancelling `close` ends
    /// every connection of the listener.
    pub(super) fn take(
        self: &Arc<Self>,
        peer: &Peer,
        close: &CancellationToken,
        now: Instant,
    ) -> Option<ConnectionSlot> {
        let group = self.group(peer);
        let mut table = self.table.lock();
        let has_room =
            table.open < self.max && group.is_none_or(|group| table.count(group) < self.share());
        if has_room {
            table.open += 1;
        } else {
            // The evicted connection's place is the newcomer's.
            let grace = match self.policy {
                EvictionPolicy::RefuseNew => return None,
                EvictionPolicy::OldestUnauthenticated => GRACE,
                EvictionPolicy::LongestIdle => Duration::ZERO,
            };
            let own = group.filter(|group| table.count(*group) >= self.share());
            table.evict(own, now, grace)?;
        }
        let tracked = group.map(|group| {
            let leave = close.child_token();
            let number = table.add(group, leave.clone(), now);
            TrackedConnection {
                group,
                leave,
                state: Mutex::new(SlotState::Candidate(number)),
            }
        });
        drop(table);
        Some(ConnectionSlot {
            slots: Arc::clone(self),
            tracked,
        })
    }

    /// Returns the group whose share the peer counts toward; `None` for a peer without a share.
    fn group(&self, peer: &Peer) -> Option<PeerGroup> {
        match self.policy {
            EvictionPolicy::RefuseNew => None,
            EvictionPolicy::LongestIdle => Some(None),
            EvictionPolicy::OldestUnauthenticated => {
                let address = peer.address?.ip().to_canonical();
                (!address.is_loopback()).then(|| Some(network(address)))
            }
        }
    }

    /// Returns the largest number of candidates of one group.
    fn share(&self) -> usize {
        match self.policy {
            EvictionPolicy::RefuseNew | EvictionPolicy::LongestIdle => self.max,
            EvictionPolicy::OldestUnauthenticated => (self.max / 2).max(1),
        }
    }
}

impl ConnectionSlot {
    /// Returns the token that is cancelled when this connection must end, by eviction or by `close`; `None` for
    /// an untracked connection, which only `close` ends.
    pub(super) fn close_token(&self) -> Option<&CancellationToken> {
        self.tracked.as_ref().map(|tracked| &tracked.leave)
    }

    /// Returns true if the slot has been given to another connection.
    pub(super) fn is_evicted(&self) -> bool {
        let Some(tracked) = &self.tracked else {
            return false;
        };
        match *tracked.state.lock() {
            SlotState::Pinned => false,
            SlotState::Evicted => true,
            SlotState::Candidate(number) => {
                !self.slots.table.lock().candidates.contains_key(&number)
            }
        }
    }

    /// Marks the connection as busy with a request: it keeps its slot meanwhile.
    pub(super) fn request_begins(&self) {
        if self.slots.policy == EvictionPolicy::LongestIdle {
            self.pin();
        }
    }

    /// Marks the end of a request; `is_authenticated` is true if the request was authenticated.
    pub(super) fn request_ends(&self, is_authenticated: bool) {
        match self.slots.policy {
            EvictionPolicy::OldestUnauthenticated if is_authenticated => self.pin(),
            EvictionPolicy::RefuseNew | EvictionPolicy::OldestUnauthenticated => {}
            EvictionPolicy::LongestIdle => self.offer(Instant::now()),
        }
    }

    fn pin(&self) {
        let Some(tracked) = &self.tracked else { return };
        let mut state = tracked.state.lock();
        if let SlotState::Candidate(number) = *state {
            let kept = self.slots.table.lock().remove(number, tracked.group);
            *state = if kept {
                SlotState::Pinned
            } else {
                SlotState::Evicted
            };
        }
    }

    fn offer(&self, now: Instant) {
        let Some(tracked) = &self.tracked else { return };
        let mut state = tracked.state.lock();
        if *state == SlotState::Pinned {
            let mut table = self.slots.table.lock();
            *state = SlotState::Candidate(table.add(tracked.group, tracked.leave.clone(), now));
        }
    }
}

impl Drop for ConnectionSlot {
    fn drop(&mut self) {
        let mut table = self.slots.table.lock();
        let gives_back = match &mut self.tracked {
            None => true,
            Some(tracked) => match *tracked.state.get_mut() {
                SlotState::Candidate(number) => table.remove(number, tracked.group),
                SlotState::Pinned => true,
                SlotState::Evicted => false,
            },
        };
        if gives_back {
            table.open -= 1;
        }
    }
}

impl SlotTable {
    fn count(&self, group: PeerGroup) -> usize {
        self.by_group.get(&group).map_or(0, BTreeSet::len)
    }

    fn add(&mut self, group: PeerGroup, leave: CancellationToken, since: Instant) -> u64 {
        self.next += 1;
        let candidate = EvictionCandidate {
            since,
            group,
            leave,
        };
        self.candidates.insert(self.next, candidate);
        self.by_group.entry(group).or_default().insert(self.next);
        self.next
    }

    /// Removes a candidate; returns false if it was evicted before.
    fn remove(&mut self, number: u64, group: PeerGroup) -> bool {
        let found = self.candidates.remove(&number).is_some();
        if found && let Some(numbers) = self.by_group.get_mut(&group) {
            numbers.remove(&number);
            if numbers.is_empty() {
                self.by_group.remove(&group);
            }
        }
        found
    }

    /// Evicts the oldest candidate, of one group or of all; returns `None` if it is younger than `grace`.
    fn evict(&mut self, only: Option<PeerGroup>, now: Instant, grace: Duration) -> Option<()> {
        let oldest = match only {
            Some(group) => self.by_group.get(&group)?.first().copied(),
            None => self.candidates.keys().next().copied(),
        }?;
        let candidate = self.candidates.get(&oldest)?;
        if now.saturating_duration_since(candidate.since) < grace {
            return None;
        }
        candidate.leave.cancel();
        let group = candidate.group;
        self.remove(oldest, group).then_some(())
    }
}

fn network(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(_) => address,
        IpAddr::V6(address) => {
            Ipv6Addr::from_bits(address.to_bits() & !u128::from(u64::MAX)).into()
        }
    }
}

#[cfg(test)]
mod tests;
