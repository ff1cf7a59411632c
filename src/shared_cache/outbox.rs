//! Invalidations waiting to be appended to the log, and those that may have to be appended again.

use std::collections::VecDeque;
use std::time::Duration;

use tokio::time::Instant;

use super::log::Invalidation;
use crate::cache::{PurgeMode, PurgeTarget};

/// Queue of invalidations that no server has accepted yet, oldest first.
///
/// It holds at most [`MAX_PENDING`]; one more turns the whole queue into a single purge of everything.
#[derive(Debug, Default)]
pub(super) struct Outbox {
    pending: Vec<Pending>,
    next_number: u64,
    /// Invalidations that a server accepted recently: a fail-over may lose the newest of them.
    delivered: VecDeque<(Instant, Invalidation)>,
}

/// One queued invalidation. The number tells it from an equal one that is queued while it is being appended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Pending {
    pub(super) invalidation: Invalidation,
    number: u64,
}

/// Bound on the queue, and within one on the deliveries that are remembered.
const MAX_PENDING: usize = 1000;
/// Time for which a delivery is remembered: longer than a fail-over goes unnoticed.
const RESEND_WINDOW: Duration = Duration::from_secs(60);

impl Outbox {
    /// Queues an invalidation; an equal one that waits already is replaced.
    pub(super) fn push(&mut self, mut invalidation: Invalidation) {
        self.next_number += 1;
        self.pending
            .retain(|pending| pending.invalidation != invalidation);
        if self.pending.len() >= MAX_PENDING {
            self.pending.clear();
            invalidation = Invalidation {
                target: PurgeTarget::All,
                mode: PurgeMode::Hard,
            };
        }
        self.pending.push(Pending {
            invalidation,
            number: self.next_number,
        });
    }

    /// Remembers for [`RESEND_WINDOW`] that a server accepted an invalidation.
    pub(super) fn record_delivered(&mut self, invalidation: Invalidation, now: Instant) {
        self.delivered
            .retain(|(at, delivered)| is_recent(*at, now) && *delivered != invalidation);
        // One more than the queue takes, so that resending an overflow queues a purge of everything.
        if self.delivered.len() > MAX_PENDING {
            self.delivered.pop_front();
        }
        self.delivered.push_back((now, invalidation));
    }

    /// Queues the recent deliveries once more: the server that accepted them has lost its log.
    pub(super) fn resend_recent(&mut self, now: Instant) {
        for (at, invalidation) in std::mem::take(&mut self.delivered) {
            if is_recent(at, now) {
                self.push(invalidation);
            }
        }
    }

    /// Returns the oldest queued invalidation, which stays queued until it is [acknowledged](Self::acknowledge).
    pub(super) fn first(&self) -> Option<&Pending> {
        self.pending.first()
    }

    /// Removes an invalidation that a server has accepted.
    pub(super) fn acknowledge(&mut self, accepted: &Pending) {
        self.pending.retain(|pending| pending != accepted);
    }

    /// Returns the number of queued invalidations.
    pub(super) const fn len(&self) -> usize {
        self.pending.len()
    }
}

fn is_recent(at: Instant, now: Instant) -> bool {
    now.saturating_duration_since(at) <= RESEND_WINDOW
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::ImageId;

    const fn hard(target: PurgeTarget) -> Invalidation {
        let mode = PurgeMode::Hard;
        Invalidation { target, mode }
    }

    fn workspace(id: &str) -> Invalidation {
        hard(PurgeTarget::Workspace(id.to_owned()))
    }

    fn next(outbox: &Outbox) -> Pending {
        outbox.first().unwrap().clone()
    }

    #[test]
    fn too_many_invalidations_become_one_of_everything() {
        let mut outbox = Outbox::default();
        for number in 0..=MAX_PENDING {
            outbox.push(workspace(&number.to_string()));
        }
        let first = next(&outbox);
        assert_eq!(first.invalidation, hard(PurgeTarget::All));
        outbox.acknowledge(&first);
        assert_eq!(outbox.len(), 0);
    }

    #[test]
    fn an_invalidation_that_is_repeated_while_it_is_appended_is_appended_again() {
        let mut outbox = Outbox::default();
        let image = || hard(PurgeTarget::Image(ImageId::parse("image-1").unwrap()));
        outbox.push(image());
        let appended = next(&outbox);
        outbox.push(image());
        outbox.acknowledge(&appended);
        assert_eq!(outbox.len(), 1);
        outbox.acknowledge(&next(&outbox));
        assert_eq!(outbox.len(), 0);
    }

    #[test]
    fn recent_deliveries_to_a_lost_server_are_appended_again_once() {
        let mut outbox = Outbox::default();
        let begun = Instant::now();
        let later = |seconds| begun + Duration::from_secs(seconds);
        outbox.record_delivered(workspace("old"), begun);
        outbox.record_delivered(workspace("new"), later(30));
        outbox.resend_recent(later(61));
        let first = next(&outbox);
        assert_eq!(first.invalidation, workspace("new"));
        assert_eq!(outbox.len(), 1);
        outbox.acknowledge(&first);
        outbox.resend_recent(later(61));
        assert_eq!(outbox.len(), 0);
    }

    #[test]
    fn more_deliveries_than_are_remembered_are_resent_as_one_of_everything() {
        let mut outbox = Outbox::default();
        let now = Instant::now();
        for number in 0..3 * MAX_PENDING {
            outbox.record_delivered(workspace(&number.to_string()), now);
        }
        assert!(outbox.delivered.len() <= MAX_PENDING + 1);
        outbox.resend_recent(now);
        assert_eq!(next(&outbox).invalidation.target, PurgeTarget::All);
    }
}
