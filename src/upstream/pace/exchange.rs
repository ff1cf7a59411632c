//! Exchanges with the fleet's store: when to ask it, for what, and the consequences of its reply.

use std::time::Duration;

use tokio::time::Instant;

use super::fleet::{FleetPart, Lasting};
use super::{MAX_THROTTLE, Pace};
use crate::upstream::fleet_pace::{FleetAway, FleetReply, FleetRequest};

impl<W> Pace<W> {
    /// Returns when the fleet's store is to be asked next, if it is.
    pub(in crate::upstream) fn asks_at(&mut self, now: Instant) -> Option<Instant> {
        self.settle(now);
        let usable = self.usable(now);
        self.fleet.as_ref()?.asks_at(usable, now)
    }

    /// Returns the request to the fleet's store that is due now. [`answered`](Self::answered) or [`away`](Self::away)
    /// must follow.
    pub(in crate::upstream) fn request(&mut self, now: Instant) -> Option<FleetRequest> {
        self.settle(now);
        let usable = self.usable(now);
        let (limit, window) = (self.limit(), self.window());
        let waiting = (usable, self.queue.urgent());
        self.fleet.as_mut()?.request(waiting, (limit, window), now)
    }

    /// Takes the reply of the fleet's store.
    pub(in crate::upstream) fn answered(&mut self, reply: FleetReply, now: Instant) {
        let lasting = self.lasting();
        let throttle = self.fleet.as_mut();
        let throttle = throttle.and_then(|fleet| fleet.answered(reply, lasting, now));
        if let Some(until) = throttle {
            self.close(until.min(now + MAX_THROTTLE), now);
        }
    }

    /// Takes note that the fleet's store did not answer.
    pub(in crate::upstream) fn away(&mut self, away: FleetAway, now: Instant) {
        let lasting = self.lasting();
        if let Some(fleet) = &mut self.fleet {
            fleet.away(away, lasting, now);
        }
    }

    /// Takes note that the fleet's store cannot be asked, before a slot of it is used.
    pub(in crate::upstream) fn lose(&mut self, away: FleetAway) {
        let lasting = self.lasting();
        if let Some(fleet) = &mut self.fleet {
            fleet.lose(away, lasting);
        }
    }

    /// Returns the time after which a call of another replica should be over, if it may have waited for its slot lately.
    pub(in crate::upstream) fn late_elsewhere(&self, now: Instant) -> Option<Duration> {
        let lasting = self.lasting();
        let fleet = self.fleet.as_ref()?;
        fleet.was_full(lasting, now).then_some(lasting.duration)
    }

    /// Returns the number of waiting calls that could use a slot of the fleet now.
    pub(super) fn usable(&self, now: Instant) -> usize {
        if self.closed_until(now).is_some() {
            return 0;
        }
        let room = self.own_limit(now).saturating_sub(self.slots.taken());
        self.queue.len().min(room)
    }

    /// Returns the number of slots, of the whole fleet if there is one.
    fn limit(&self) -> usize {
        self.rate
            .as_ref()
            .map_or(usize::MAX, |rate| rate.limit(1.0))
    }

    /// Returns the fleet whose store decides about slots.
    pub(super) fn store(&self) -> Option<&FleetPart> {
        self.fleet.as_ref().filter(|fleet| fleet.is_answering())
    }

    pub(super) fn lasting(&self) -> Lasting {
        Lasting {
            window: self.window(),
            duration: self.duration.estimate(),
        }
    }
}
