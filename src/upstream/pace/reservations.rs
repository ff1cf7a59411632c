//! Reservations of refused calls: the moments that their clients were told to come back at.
//!
//! A reservation holds no slot, so none is idle for its sake. It counts as a queued call when a wait is promised, so
//! that others are not promised the room that was promised before. As in the [queue](super::queue), clients take turns:
//! one whose many calls are refused keeps no other client out.

use std::cmp::Ordering;
use std::collections::{BTreeSet, HashMap};
use std::time::Duration;

use compact_str::CompactString;
use foldhash::fast::RandomState;
use tokio::time::Instant;

use super::SlotRequest;
use super::slots::Schedule;
use crate::upstream::priority::Priority;

/// Furthest time ahead for which there are reservations: no client is told to wait longer.
const FURTHEST: Duration = Duration::from_secs(60);
/// Time after its moment until which a reservation waits for a client that comes late.
const GRACE: Duration = Duration::from_secs(1);

/// The reservations of one operation, each under the key of its call.
#[derive(Debug)]
pub(super) struct Reservations {
    max: usize,
    by_key: HashMap<u64, Reservation>,
    by_moment: BTreeSet<(Instant, u64)>,
}

#[derive(Debug)]
struct Reservation {
    moment: Instant,
    priority: Priority,
    client: CompactString,
}

impl Reservations {
    /// Creates an empty table of at most `max`.
    pub(super) fn new(max: usize) -> Self {
        Self {
            max,
            by_key: HashMap::new(),
            by_moment: BTreeSet::new(),
        }
    }

    /// Removes the reservations whose clients have not come.
    pub(super) fn expire(&mut self, now: Instant) {
        while let Some((moment, key)) = self.by_moment.first().copied()
            && moment + GRACE < now
        {
            self.by_moment.remove(&(moment, key));
            self.by_key.remove(&key);
        }
    }

    /// Removes a call's reservation, and returns its moment.
    pub(super) fn take(&mut self, key: u64) -> Option<Instant> {
        let Reservation { moment, .. } = self.by_key.remove(&key)?;
        self.by_moment.remove(&(moment, key));
        Some(moment)
    }

    /// Reserves a moment for a call that has no reservation. Does nothing for one beyond [`FURTHEST`], or if the
    /// table is full: such a client comes back without a reservation.
    pub(super) fn insert(&mut self, request: &SlotRequest, moment: Instant, now: Instant) {
        if self.by_key.len() < self.max && moment <= now + FURTHEST {
            let (priority, client) = (request.priority.now(), request.client.clone());
            let reservation = Reservation {
                moment,
                priority,
                client,
            };
            self.by_key.insert(request.key, reservation);
            self.by_moment.insert((moment, request.key));
        }
    }

    /// Returns the first moment for a call behind `turns` others at which each reservation that goes before it can
    /// still have a slot at its own moment, and that is a slot's part of the period from the nearest of them.
    pub(super) fn first_gap(
        &self,
        schedule: &Schedule,
        turns: usize,
        (priority, client): (Priority, &str),
    ) -> Instant {
        let moments = self.moments_before(priority, client);
        // A call that goes before a reservation moves it, and each one after it, one turn back.
        let is_late = |place: usize| schedule.turn(turns + place + 1) > moments[place];
        let mut place = (0..moments.len())
            .rev()
            .find(|place| is_late(*place))
            .map_or(0, |last| last + 1);
        loop {
            let before = place
                .checked_sub(1)
                .map(|before| moments[before] + schedule.spacing());
            let gap = before.max(Some(schedule.turn(turns + place)));
            let gap = gap.unwrap_or_else(|| schedule.turn(turns));
            if moments
                .get(place)
                .is_none_or(|next| gap + schedule.spacing() <= *next)
            {
                return gap;
            }
            place += 1;
        }
    }

    /// Returns the moments that a new call must leave free: those of a higher priority, the client's own of the same,
    /// and of each other client's as many as take turns with these and the call.
    fn moments_before(&self, priority: Priority, client: &str) -> Vec<Instant> {
        let equals = self.by_key.values().filter(|of| of.priority == priority);
        let own = equals.filter(|of| of.client == client).count();
        let mut by_client: HashMap<&str, usize, RandomState> = HashMap::default();
        let in_order = self.by_moment.iter();
        let in_order = in_order.filter_map(|(_, key)| self.by_key.get(key));
        let before = in_order.filter(|of| match of.priority.cmp(&priority) {
            Ordering::Less => false,
            Ordering::Greater => true,
            Ordering::Equal if of.client == client => true,
            Ordering::Equal => {
                let turns = by_client.entry(&of.client).or_default();
                *turns += 1;
                *turns <= own + 1
            }
        });
        before.map(|of| of.moment).collect()
    }
}
