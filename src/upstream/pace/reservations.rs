//! Reservations of refused calls: the moments that their clients were told to come back at.
//!
//! A reservation holds no slot, so none is idle for its sake. It counts as a queued call when a wait is promised, so
//! that others are not promised the room that was promised before.

use std::collections::{BTreeSet, HashMap};
use std::time::Duration;

use tokio::time::Instant;

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
    by_key: HashMap<u64, (Instant, Priority)>,
    by_moment: BTreeSet<(Instant, u64)>,
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
        let (moment, _) = self.by_key.remove(&key)?;
        self.by_moment.remove(&(moment, key));
        Some(moment)
    }

    /// Reserves a moment for a call that has no reservation. Does nothing for one beyond [`FURTHEST`], or if the
    /// table is full: such a client comes back without a reservation.
    pub(super) fn insert(&mut self, key: u64, moment: Instant, priority: Priority, now: Instant) {
        if self.by_key.len() < self.max && moment <= now + FURTHEST {
            self.by_key.insert(key, (moment, priority));
            self.by_moment.insert((moment, key));
        }
    }

    /// Returns the first moment for a call behind `turns` others at which each reservation of its priority or above
    /// can still have a slot at its own moment, and that is a slot's part of the period from the nearest of them.
    pub(super) fn first_gap(
        &self,
        schedule: &Schedule,
        turns: usize,
        priority: Priority,
    ) -> Instant {
        let matters = |key| self.by_key.get(key).is_some_and(|(_, of)| *of >= priority);
        let moments = self.by_moment.iter().filter(|(_, key)| matters(key));
        let moments: Vec<_> = moments.map(|(moment, _)| *moment).collect();
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
}
