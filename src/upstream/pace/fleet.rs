//! Slots that a replica has from its fleet's store, and the share of the pace that it takes while the store is away.
//!
//! - While the store answers, a call needs a slot that the store granted. The replica asks for as many as it has
//!   waiting calls. Some are granted ahead of their time, so that replicas wait for a moment instead of asking again
//!   and again.
//! - While the store is away, the replica keeps a share of the pace by its own slots, which it records all the time.
//!   They are closed at first, until the calls that other replicas sent before the loss are over.
//! - Once the store is back, a call needs both for some seconds: other replicas may not have noticed yet.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use tokio::time::Instant;

use super::slots::SlotId;
use crate::upstream::fleet_pace::{FleetAway, FleetReply, FleetRequest, GrantId};

/// Time after its moment in which a granted slot can be used; then it is given back.
pub(super) const USABLE: Duration = Duration::from_secs(1);
/// Pause between two requests to a store that is away.
const RETRY: Duration = Duration::from_millis(200);
/// Shortest pause between two requests for slots that were all taken.
const MIN_PAUSE: Duration = Duration::from_millis(5);
/// Time after the return of the store by which every replica uses it again: it bounds the pause before a connection.
const RETURN: Duration = Duration::from_secs(5);
/// Bound on the ends and unused slots that wait for the next request; the oldest are left to expire in the store.
const MAX_PENDING: usize = 1024;
/// Slots asked for at once.
const MAX_WANTED: usize = 256;

/// Part of one replica in the pace of one operation.
#[derive(Debug)]
pub(super) struct FleetPart {
    /// Time by which the store frees a slot whose end is not recorded.
    hold: Duration,
    /// Part of the pace before any number of replicas is known.
    first_share: f64,
    replicas: Option<u32>,
    is_answering: bool,
    /// Time before which no slot is used: the calls before a loss are not over.
    opens_at: Option<Instant>,
    /// Time until which the own share holds beside the store's slots.
    shares_until: Option<Instant>,
    reconnected: Option<Instant>,
    last_grant: u64,
    /// Slots that no call uses yet, with the time from which they may be used.
    granted: BTreeSet<(Instant, GrantId)>,
    used: BTreeMap<SlotId, (Instant, GrantId)>,
    ended: Vec<(GrantId, Instant)>,
    unused: Vec<GrantId>,
    throttled_until: Option<Instant>,
    last_throttle: u64,
    /// Request under way.
    asked: Option<FleetRequest>,
    /// Time of the next request, if slots are wanted or the store is away.
    asks_at: Option<Instant>,
    /// Time of the latest reply that told of no free slot.
    last_full: Option<Instant>,
    /// Assumed times at which the fleet's taken slots are free, and the number of replicas among which they are shared.
    releases: (Vec<Instant>, u32),
}

/// Time that calls take and keep their slots, for assumptions about those of other replicas.
#[derive(Debug, Clone, Copy)]
pub(super) struct Lasting {
    pub(super) window: Duration,
    pub(super) duration: Duration,
}

impl Lasting {
    /// Returns the time from the departure of a call until its slot is free.
    pub(super) fn sum(self) -> Duration {
        self.window + self.duration
    }
}

impl FleetPart {
    /// Creates the part of a replica whose calls end within `longest_call`, and which takes `first_share` of the pace
    /// until it has seen the fleet.
    pub(super) fn new(first_share: f64, longest_call: Duration) -> Self {
        Self {
            hold: longest_call + USABLE,
            first_share,
            replicas: None,
            is_answering: true,
            opens_at: None,
            shares_until: None,
            reconnected: None,
            last_grant: 0,
            granted: BTreeSet::new(),
            used: BTreeMap::new(),
            ended: Vec::new(),
            unused: Vec::new(),
            throttled_until: None,
            last_throttle: 0,
            asked: None,
            asks_at: None,
            last_full: None,
            releases: (Vec::new(), 1),
        }
    }

    /// Returns whether calls need a slot of the store.
    pub(super) const fn is_answering(&self) -> bool {
        self.is_answering
    }

    /// Returns the part of the pace that this replica may use by its own slots; `None` where only the store decides.
    pub(super) fn share(&self, now: Instant) -> Option<f64> {
        let has_settled = self.shares_until.is_none_or(|until| until <= now);
        if self.is_answering && has_settled {
            return None;
        }
        let share = self
            .replicas
            .map(|replicas| 1.0 / f64::from(replicas.max(1)));
        Some(share.unwrap_or(self.first_share))
    }

    /// Returns whether the fleet's slots were all taken within the last window, so that a call of another replica may
    /// have left late.
    pub(super) fn was_full(&self, lasting: Lasting, now: Instant) -> bool {
        let is_recent = |at: Instant| now.saturating_duration_since(at) < lasting.sum();
        self.last_full.is_some_and(is_recent)
    }

    /// Returns the time before which no slot is used, if that is to come.
    pub(super) fn opens_at(&self, now: Instant) -> Option<Instant> {
        self.opens_at.filter(|at| now < *at)
    }

    /// Returns when the next call may use a slot of the store; `None` without one.
    pub(super) fn next_grant(&self) -> Option<Instant> {
        self.granted.first().map(|(from, _)| *from)
    }

    /// Lets a call use a granted slot, if calls need one.
    pub(super) fn take(&mut self, slot: SlotId) {
        if self.is_answering
            && let Some(grant) = self.granted.pop_first()
        {
            self.used.insert(slot, grant);
        }
    }

    /// Records the end of a call that was sent.
    pub(super) fn finish(&mut self, slot: SlotId, now: Instant) {
        if let Some((_, grant)) = self.used.remove(&slot) {
            self.ended.push((grant, now));
        }
    }

    /// Keeps the slot of a call that was not sent for the next one.
    pub(super) fn cancel(&mut self, slot: SlotId) {
        if let Some(grant) = self.used.remove(&slot) {
            self.granted.insert(grant);
        }
    }

    /// Tells the fleet of a throttle.
    pub(super) fn throttled(&mut self, until: Instant) {
        self.throttled_until = self.throttled_until.max(Some(until));
    }

    /// Gives back the slots that `waiting` calls do not need, and those that were not used in time.
    pub(super) fn settle(&mut self, waiting: usize, now: Instant) {
        while self.granted.len() > waiting {
            self.unused
                .extend(self.granted.pop_last().map(|(_, grant)| grant));
        }
        while self.next_grant().is_some_and(|from| from + USABLE < now) {
            self.unused
                .extend(self.granted.pop_first().map(|(_, grant)| grant));
        }
    }

    /// Returns when the next request is due for so many waiting calls; `None` if nothing is to be asked, or until the
    /// request under way has ended.
    pub(super) fn asks_at(&self, waiting: usize, now: Instant) -> Option<Instant> {
        if self.asked.is_some() {
            return None;
        }
        let has_news = !self.ended.is_empty() || !self.unused.is_empty();
        if self.is_answering && (has_news || self.throttled_until.is_some()) {
            return Some(now);
        }
        let is_wanted = waiting > self.granted.len() || !self.is_answering;
        is_wanted.then(|| self.asks_at.map_or(now, |at| at.max(now)))
    }

    /// Returns the request that is due now, for so many waiting calls, some of which clients wait for.
    pub(super) fn request(
        &mut self,
        (waiting, urgent): (usize, usize),
        (limit, window): (usize, Duration),
        now: Instant,
    ) -> Option<FleetRequest> {
        self.asks_at(waiting, now).filter(|at| *at <= now)?;
        let wanted = waiting.saturating_sub(self.granted.len()).min(MAX_WANTED);
        let ahead = self.granted.iter().filter(|(from, _)| now < *from);
        let request = FleetRequest {
            limit: saturating(limit),
            window,
            hold: self.hold + window,
            wanted: saturating(wanted),
            first: GrantId(self.last_grant + 1),
            urgent: saturating(urgent.min(wanted)),
            held_ahead: saturating(ahead.count()),
            ended: latest(std::mem::take(&mut self.ended)),
            unused: latest(std::mem::take(&mut self.unused)),
            throttled_until: self.throttled_until.take(),
        };
        self.last_grant += wanted as u64;
        self.asked = Some(request.clone());
        Some(request)
    }

    /// Takes the store's reply. Returns the end of a throttle window that another replica was told.
    pub(super) fn answered(
        &mut self,
        reply: FleetReply,
        lasting: Lasting,
        now: Instant,
    ) -> Option<Instant> {
        let asked = self.asked.take()?;
        self.replicas = reply.replicas.or(self.replicas);
        self.return_to_store(reply.reconnected, lasting, now);
        let names = (asked.first.0..).map(GrantId);
        let is_full = reply.granted.len() < asked.wanted as usize;
        self.granted.extend(reply.granted.into_iter().zip(names));
        if is_full || reply.taken.len() >= asked.limit as usize {
            self.last_full = Some(now);
        }
        let next = reply
            .taken
            .iter()
            .find(|at| **at > now && **at <= now + lasting.window);
        let next = next.map_or(now + lasting.duration, |at| *at);
        self.asks_at = is_full.then(|| next.max(now + MIN_PAUSE));
        let releases = reply
            .taken
            .into_iter()
            .map(|at| self.release(at, lasting, now));
        let mut releases: Vec<_> = releases.collect();
        releases.sort_unstable();
        self.releases = (releases, reply.contenders.max(1));
        let (number, until) = reply.throttle?;
        let is_new = number != self.last_throttle && asked.throttled_until.is_none();
        self.last_throttle = number;
        is_new.then_some(until)
    }

    /// Takes note that the store did not answer.
    pub(super) fn away(&mut self, away: FleetAway, lasting: Lasting, now: Instant) {
        if let Some(asked) = self.asked.take() {
            // It may have been carried out.
            let names = (asked.first.0..).map(GrantId);
            self.unused.extend(names.take(asked.wanted as usize));
            self.unused.extend(asked.unused);
            self.ended.extend(asked.ended);
            self.throttled_until = self.throttled_until.max(asked.throttled_until);
        }
        self.ended = latest(std::mem::take(&mut self.ended));
        self.unused = latest(std::mem::take(&mut self.unused));
        self.asks_at = Some(now + RETRY);
        self.lose(away, lasting);
    }

    /// Begins the time without the store.
    pub(super) fn lose(&mut self, away: FleetAway, lasting: Lasting) {
        self.replicas = away.replicas.or(self.replicas);
        if self.is_answering {
            self.is_answering = false;
            let granted = std::mem::take(&mut self.granted).into_iter();
            self.unused.extend(granted.map(|(_, grant)| grant));
            let lost = away.since.map(|since| since + lasting.sum());
            self.opens_at = self.opens_at.max(lost);
        }
    }

    /// Returns the times from which this replica's slots are free, as far as they are known or assumed: those granted,
    /// and its share of the others.
    pub(super) fn free_from(&self, limit: usize, now: Instant) -> Vec<Instant> {
        let (releases, contenders) = &self.releases;
        let taken = releases.iter().filter(|at| now < **at);
        let free = limit.saturating_sub(taken.clone().count());
        let all = std::iter::repeat_n(&now, free).chain(taken);
        let share = (limit / *contenders as usize).max(1);
        let own = self.granted.iter().map(|(from, _)| *from);
        let others = all.step_by(*contenders as usize).copied();
        let rest = share.saturating_sub(self.granted.len());
        let mut free_from: Vec<_> = own.chain(others.take(rest)).collect();
        free_from.sort_unstable();
        free_from
    }

    /// Ends the time without the store, or notices that there was one.
    fn return_to_store(&mut self, reconnected: Option<Instant>, lasting: Lasting, now: Instant) {
        let is_new = reconnected > self.reconnected;
        self.reconnected = self.reconnected.max(reconnected);
        let is_closed = self.opens_at(now).is_some();
        if is_new && (self.is_answering || is_closed) {
            // The store may have lost the slots that others use.
            let lost = reconnected.map(|at| at + lasting.sum());
            self.opens_at = self.opens_at.max(lost);
        } else if !is_new && is_closed && !self.is_answering {
            // Nothing was lost, and no call has left meanwhile.
            self.opens_at = None;
        }
        let was_alone = !self.is_answering && !is_closed;
        if is_new || was_alone {
            self.shares_until = Some(now + RETURN);
        }
        self.is_answering = true;
    }

    /// Returns when a taken slot is free: as stated for a call that has ended, else by how long calls take.
    fn release(&self, at: Instant, lasting: Lasting, now: Instant) -> Instant {
        if at <= now + lasting.window {
            return at;
        }
        let ends = (at + lasting.duration).checked_sub(self.hold + lasting.window);
        ends.map_or(now, |ends| ends.max(now)) + lasting.window
    }
}

fn saturating(count: usize) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}

/// Drops the oldest beyond [`MAX_PENDING`].
fn latest<T>(mut pending: Vec<T>) -> Vec<T> {
    pending.drain(..pending.len().saturating_sub(MAX_PENDING));
    pending
}
