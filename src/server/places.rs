//! Places on a listener: the number of open connections, and the connection that makes room when all
//! places are taken.
//!
//! - [`Policy::Refuse`]: a newcomer is refused. For a port on which nobody signs in.
//! - [`Policy::Share`]: connections that have not signed in yet hold at most half of all places for
//!   each peer address; the oldest of them makes room for a newcomer. A connection that signed in keeps
//!   its place. Loopback and Unix sockets have no share, because a proxy on this machine looks like one
//!   peer.
//! - [`Policy::Idlest`]: the connection that has been idle for the longest makes room. For probes, which
//!   must be answered whoever else holds connections open.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::peer::Peer;

/// Rule for a newcomer on a listener whose places are taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Policy {
    /// The newcomer is refused.
    Refuse,
    /// The oldest connection without a sign-in makes room.
    Share,
    /// The connection that has been idle for the longest makes room.
    Idlest,
}

/// Places of one listener.
#[derive(Debug)]
pub(super) struct Places {
    max: usize,
    policy: Policy,
    table: Mutex<Table>,
}

/// Place of one connection; dropping it gives the place back.
#[derive(Debug)]
pub(super) struct Place {
    places: Arc<Places>,
    tracked: Option<Tracked>,
}

#[derive(Debug)]
struct Tracked {
    group: Group,
    leave: CancellationToken,
    state: Mutex<State>,
}

/// Standing of a tracked connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// It makes room when it must; the number orders the candidates.
    Candidate(u64),
    /// It keeps its place: it has signed in, or is being answered.
    Kept,
    /// Its place has been given to another connection.
    Evicted,
}

/// Peers that share one allowance: an IPv4 address, or an IPv6 network of 64 bits, since one host
/// commonly holds all addresses of such a network.
type Group = Option<IpAddr>;

#[derive(Debug, Default)]
struct Table {
    open: usize,
    next: u64,
    candidates: BTreeMap<u64, Candidate>,
    by_group: HashMap<Group, BTreeSet<u64>>,
}

#[derive(Debug)]
struct Candidate {
    since: Instant,
    group: Group,
    leave: CancellationToken,
}

/// Time within which an honest client that is being served has signed in; a younger connection is not
/// evicted, so that a flood cannot push out a client between its connect and its request.
const GRACE: Duration = Duration::from_secs(1);

impl Places {
    pub(super) fn new(max: usize, policy: Policy) -> Arc<Self> {
        Arc::new(Self {
            max,
            policy,
            table: Mutex::new(Table::default()),
        })
    }

    /// Takes a place for a connection from `peer`; `None` when it must be refused. `close` ends every
    /// connection of the listener.
    pub(super) fn take(
        self: &Arc<Self>,
        peer: &Peer,
        close: &CancellationToken,
        now: Instant,
    ) -> Option<Place> {
        let group = self.group(peer);
        let mut table = self.table.lock();
        let has_room =
            table.open < self.max && group.is_none_or(|group| table.count(group) < self.share());
        if has_room {
            table.open += 1;
        } else {
            // The evicted connection's place is the newcomer's.
            let grace = match self.policy {
                Policy::Refuse => return None,
                Policy::Share => GRACE,
                Policy::Idlest => Duration::ZERO,
            };
            let own = group.filter(|group| table.count(*group) >= self.share());
            table.evict(own, now, grace)?;
        }
        let tracked = group.map(|group| {
            let leave = close.child_token();
            let number = table.add(group, leave.clone(), now);
            Tracked {
                group,
                leave,
                state: Mutex::new(State::Candidate(number)),
            }
        });
        drop(table);
        Some(Place {
            places: Arc::clone(self),
            tracked,
        })
    }

    /// Group whose share the peer counts toward; `None` for a peer without a share.
    fn group(&self, peer: &Peer) -> Option<Group> {
        match self.policy {
            Policy::Refuse => None,
            Policy::Idlest => Some(None),
            Policy::Share => {
                let address = peer.address?.ip().to_canonical();
                (!address.is_loopback()).then(|| Some(network(address)))
            }
        }
    }

    /// Connections of one group that may be candidates at once.
    fn share(&self) -> usize {
        match self.policy {
            Policy::Refuse | Policy::Idlest => self.max,
            Policy::Share => (self.max / 2).max(1),
        }
    }
}

impl Place {
    /// Token that is cancelled when this connection must end, by eviction or by `close`; `None` for an
    /// untracked connection, which only `close` ends.
    pub(super) fn leave(&self) -> Option<&CancellationToken> {
        self.tracked.as_ref().map(|tracked| &tracked.leave)
    }

    /// Whether the place has been given to another connection.
    pub(super) fn is_evicted(&self) -> bool {
        let Some(tracked) = &self.tracked else {
            return false;
        };
        match *tracked.state.lock() {
            State::Kept => false,
            State::Evicted => true,
            State::Candidate(number) => !self.places.table.lock().candidates.contains_key(&number),
        }
    }

    /// Notes that a request is being answered: the connection keeps its place meanwhile.
    pub(super) fn request_begins(&self) {
        if self.places.policy == Policy::Idlest {
            self.keep();
        }
    }

    /// Notes an answer. `signed_in` tells whether its request was let in.
    pub(super) fn request_ends(&self, signed_in: bool) {
        match self.places.policy {
            Policy::Share if signed_in => self.keep(),
            Policy::Refuse | Policy::Share => {}
            Policy::Idlest => self.offer(Instant::now()),
        }
    }

    fn keep(&self) {
        let Some(tracked) = &self.tracked else { return };
        let mut state = tracked.state.lock();
        if let State::Candidate(number) = *state {
            let kept = self.places.table.lock().remove(number, tracked.group);
            *state = if kept { State::Kept } else { State::Evicted };
        }
    }

    fn offer(&self, now: Instant) {
        let Some(tracked) = &self.tracked else { return };
        let mut state = tracked.state.lock();
        if *state == State::Kept {
            let mut table = self.places.table.lock();
            *state = State::Candidate(table.add(tracked.group, tracked.leave.clone(), now));
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut table = self.places.table.lock();
        let gives_back = match &mut self.tracked {
            None => true,
            Some(tracked) => match *tracked.state.get_mut() {
                State::Candidate(number) => table.remove(number, tracked.group),
                State::Kept => true,
                State::Evicted => false,
            },
        };
        if gives_back {
            table.open -= 1;
        }
    }
}

impl Table {
    fn count(&self, group: Group) -> usize {
        self.by_group.get(&group).map_or(0, BTreeSet::len)
    }

    fn add(&mut self, group: Group, leave: CancellationToken, since: Instant) -> u64 {
        self.next += 1;
        let candidate = Candidate {
            since,
            group,
            leave,
        };
        self.candidates.insert(self.next, candidate);
        self.by_group.entry(group).or_default().insert(self.next);
        self.next
    }

    /// Takes a candidate out; `false` when it was evicted before.
    fn remove(&mut self, number: u64, group: Group) -> bool {
        let found = self.candidates.remove(&number).is_some();
        if found && let Some(numbers) = self.by_group.get_mut(&group) {
            numbers.remove(&number);
            if numbers.is_empty() {
                self.by_group.remove(&group);
            }
        }
        found
    }

    /// Evicts the oldest candidate, of one group or of all; `None` when it is younger than `grace`.
    fn evict(&mut self, only: Option<Group>, now: Instant, grace: Duration) -> Option<()> {
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
