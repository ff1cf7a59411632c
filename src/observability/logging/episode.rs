//! The lines of a recurring failure, as a value: at its beginning, once a minute while it lasts, and at its end.
//!
//! - **begins**: the first occurrence gives [`DueLine::Began`];
//! - **lasts**: once a minute [`DueLine::Continues`], with the count so far;
//! - **ends**: a recovery that lasted for [`Rules::settle`], or [`Rules::quiet`] without an occurrence, gives
//!   [`DueLine::Ended`].
//!
//! A failure that comes and goes is one episode: two beginnings, or two ends, are at least [`AGAIN`] apart. However
//! often it occurs, there are no more than three lines a minute. The value knows neither the log nor a clock: it gets
//! the time and returns the line, and property tests hold the bound.

use std::time::Duration;

use tokio::time::Instant;

/// Shortest time between two lines of one kind: two beginnings, or two ends.
pub(super) const AGAIN: Duration = Duration::from_secs(60);

/// Decides when an episode is over: by a recovery, by silence, or by whichever comes first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Rules {
    /// Time that must pass after a recovery without another occurrence.
    pub(super) settle: Duration,
    /// Time without an occurrence that counts as a recovery; `None` when only a reported one does.
    pub(super) quiet: Option<Duration>,
}

/// A line to write now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum DueLine {
    /// The first occurrence after a time without any.
    Began,
    /// Occurrences that go on, or a second beginning within a minute of the first.
    Continues {
        /// Time since the first occurrence.
        lasting: Duration,
        /// Occurrences so far.
        count: u64,
    },
    /// The end of the episode.
    Ended {
        /// Time from the first occurrence to the recovery.
        lasted: Duration,
        /// Occurrences in all.
        count: u64,
    },
}

/// The history of one failure, as far as the next line depends on it.
#[derive(Debug)]
pub(super) struct Episode {
    rules: Rules,
    ongoing: Option<Ongoing>,
    last_start: Option<Instant>,
    last_end: Option<Instant>,
}

/// An episode that has begun and not ended.
#[derive(Debug)]
struct Ongoing {
    since: Instant,
    latest: Instant,
    count: u64,
    /// The count in the latest line; zero before the first line.
    reported: u64,
    /// The first recovery since the latest occurrence.
    recovered: Option<Instant>,
}

impl Episode {
    /// Creates an episode in which nothing has occurred yet.
    #[must_use]
    pub(super) const fn new(rules: Rules) -> Self {
        Self {
            rules,
            ongoing: None,
            last_start: None,
            last_end: None,
        }
    }

    /// Counts an occurrence, takes back a recovery that has not settled, and returns the line that is due.
    pub(super) fn occurred(&mut self, now: Instant) -> Option<DueLine> {
        let ongoing = self.ongoing.get_or_insert(Ongoing {
            since: now,
            latest: now,
            count: 0,
            reported: 0,
            recovered: None,
        });
        ongoing.count = ongoing.count.saturating_add(1);
        (ongoing.latest, ongoing.recovered) = (now, None);
        self.due(now)
    }

    /// Records a recovery, if anything has occurred, and returns the line that is due. Of two, the earlier counts.
    pub(super) fn recovered(&mut self, now: Instant) -> Option<DueLine> {
        let ongoing = self.ongoing.as_mut()?;
        ongoing.recovered.get_or_insert(now);
        self.due(now)
    }

    /// Returns the line that is due because of the time alone, such as the end of a silent minute.
    pub(super) fn due(&mut self, now: Instant) -> Option<DueLine> {
        let rules = self.rules;
        let ongoing = self.ongoing.as_mut()?;
        let is_quiet = rules
            .quiet
            .is_some_and(|quiet| now >= ongoing.latest + quiet);
        // Silence dates the recovery back to the latest occurrence, so that `lasted` is what was seen.
        if is_quiet && ongoing.recovered.is_none() {
            ongoing.recovered = Some(ongoing.latest);
        }
        let Some(recovered) = ongoing.recovered else {
            return self.due_while_ongoing(now);
        };
        if now < recovered + rules.settle || !is_free(self.last_end, now) {
            return None;
        }
        let (lasted, count) = (
            recovered.saturating_duration_since(ongoing.since),
            ongoing.count,
        );
        (self.ongoing, self.last_end) = (None, Some(now));
        Some(DueLine::Ended { lasted, count })
    }

    /// Returns true when the episode may be dropped: nothing to report, and no recent line to keep a minute from.
    #[must_use]
    pub(super) fn is_over(&self, now: Instant) -> bool {
        self.ongoing.is_none() && is_free(self.last_start, now) && is_free(self.last_end, now)
    }

    /// Returns the first occurrence and the number of occurrences of a failure that lasts; `None` once it has recovered,
    /// even if the line of its end is still to come.
    pub(super) fn lasting(&self, now: Instant) -> Option<(Instant, u64)> {
        let ongoing = self.ongoing.as_ref()?;
        let Rules { settle, quiet } = self.rules;
        let is_quiet = quiet.is_some_and(|quiet| now >= ongoing.latest + quiet);
        let has_recovered = ongoing.recovered.is_some_and(|since| now >= since + settle);
        (!is_quiet && !has_recovered).then_some((ongoing.since, ongoing.count))
    }

    /// Returns the minute's line of an episode without a recovery.
    fn due_while_ongoing(&mut self, now: Instant) -> Option<DueLine> {
        let ongoing = self.ongoing.as_mut()?;
        // Events without news write nothing; a state lasts until its recovery, so it is news by itself.
        let has_news = ongoing.count > ongoing.reported || self.rules.quiet.is_none();
        if !has_news || !is_free(self.last_start, now) {
            return None;
        }
        self.last_start = Some(now);
        // A beginning within a minute of the previous one waited, and is reported as going on.
        let is_first = std::mem::replace(&mut ongoing.reported, ongoing.count) == 0;
        Some(if is_first && ongoing.since == now {
            DueLine::Began
        } else {
            DueLine::Continues {
                lasting: now.saturating_duration_since(ongoing.since),
                count: ongoing.count,
            }
        })
    }
}

/// Returns true when the latest line of its kind is at least [`AGAIN`] ago.
fn is_free(last: Option<Instant>, now: Instant) -> bool {
    last.is_none_or(|last| now >= last + AGAIN)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const STATE: Rules = Rules {
        settle: Duration::ZERO,
        quiet: None,
    };
    const EVENTS: Rules = Rules {
        settle: Duration::ZERO,
        quiet: Some(AGAIN),
    };

    fn secs(secs: u64) -> Duration {
        Duration::from_secs(secs)
    }

    #[test]
    fn an_outage_is_reported_when_it_begins_each_minute_and_when_it_ends() {
        let start = Instant::now();
        let mut episode = Episode::new(STATE);
        assert_eq!(episode.occurred(start), Some(DueLine::Began));
        for second in 1..60 {
            assert_eq!(episode.occurred(start + secs(second)), None);
        }
        let continues = DueLine::Continues {
            lasting: secs(60),
            count: 60,
        };
        assert_eq!(episode.due(start + secs(60)), Some(continues));
        assert_eq!(episode.due(start + secs(61)), None);
        let ended = DueLine::Ended {
            lasted: secs(90),
            count: 60,
        };
        assert_eq!(episode.recovered(start + secs(90)), Some(ended));
        assert_eq!(episode.recovered(start + secs(91)), None);
    }

    #[test]
    fn a_failure_lasts_until_its_recovery_although_the_line_of_its_end_comes_later() {
        let start = Instant::now();
        let mut episode = Episode::new(STATE);
        assert_eq!(episode.lasting(start), None);
        for second in [0, 2] {
            episode.occurred(start + secs(second));
            assert!(episode.lasting(start + secs(second)).is_some());
            episode.recovered(start + secs(second + 1));
            assert_eq!(episode.lasting(start + secs(second + 1)), None);
        }
        let mut events = Episode::new(EVENTS);
        events.occurred(start);
        assert_eq!(events.lasting(start + secs(59)), Some((start, 1)));
        assert_eq!(events.lasting(start + secs(60)), None);
    }

    #[test]
    fn events_end_when_none_came_for_a_minute() {
        let start = Instant::now();
        let mut episode = Episode::new(EVENTS);
        assert_eq!(episode.occurred(start), Some(DueLine::Began));
        assert_eq!(episode.occurred(start + secs(30)), None);
        assert_eq!(
            episode.due(start + secs(89)),
            Some(DueLine::Continues {
                lasting: secs(89),
                count: 2
            })
        );
        let ended = DueLine::Ended {
            lasted: secs(30),
            count: 2,
        };
        assert_eq!(episode.due(start + secs(90)), Some(ended));
    }

    #[test]
    fn a_recovery_that_does_not_settle_is_none() {
        let start = Instant::now();
        let mut episode = Episode::new(Rules {
            settle: secs(5),
            quiet: None,
        });
        assert_eq!(episode.occurred(start), Some(DueLine::Began));
        assert_eq!(episode.recovered(start + secs(1)), None);
        assert_eq!(episode.occurred(start + secs(2)), None);
        assert_eq!(episode.recovered(start + secs(3)), None);
        assert_eq!(episode.due(start + secs(7)), None);
        let ended = DueLine::Ended {
            lasted: secs(3),
            count: 2,
        };
        assert_eq!(episode.due(start + secs(8)), Some(ended));
    }

    #[test]
    fn a_second_outage_within_the_minute_is_reported_at_its_end() {
        let start = Instant::now();
        let mut episode = Episode::new(STATE);
        episode.occurred(start);
        assert!(episode.recovered(start + secs(1)).is_some());
        assert_eq!(episode.occurred(start + secs(10)), None);
        assert_eq!(episode.recovered(start + secs(12)), None);
        assert_eq!(episode.due(start + secs(60)), None);
        let ended = DueLine::Ended {
            lasted: secs(2),
            count: 1,
        };
        assert_eq!(episode.due(start + secs(61)), Some(ended));
        assert!(!episode.is_over(start + secs(61)));
        assert!(episode.is_over(start + secs(121)));
    }

    #[test]
    fn a_second_outage_that_lasts_is_reported_after_the_minute() {
        let start = Instant::now();
        let mut episode = Episode::new(STATE);
        episode.occurred(start);
        episode.recovered(start + secs(1));
        assert_eq!(episode.occurred(start + secs(10)), None);
        let continues = DueLine::Continues {
            lasting: secs(50),
            count: 1,
        };
        assert_eq!(episode.due(start + secs(60)), Some(continues));
    }

    proptest! {
        #[test]
        fn no_history_gives_more_than_three_lines_a_minute_nor_loses_an_occurrence(
            steps in prop::collection::vec((0_u64..20_000, 0..3_u8), 1..400),
            settle in 0_u64..10,
            quiet in prop::option::of(1_u64..120),
        ) {
            let rules = Rules { settle: secs(settle), quiet: quiet.map(secs) };
            let mut episode = Episode::new(rules);
            let mut now = Instant::now();
            let (mut lines, mut occurred, mut ended) = (Vec::new(), 0, 0);
            for (pause, step) in steps {
                now += Duration::from_millis(pause);
                let line = match step {
                    0 => { occurred += 1; episode.occurred(now) }
                    1 => episode.recovered(now),
                    _ => episode.due(now),
                };
                if let Some(DueLine::Ended { count, .. }) = line { ended += count; }
                lines.extend(line.map(|_| now));
            }
            for from in &lines {
                let within = lines.iter().filter(|at| **at >= *from && **at < *from + AGAIN);
                prop_assert!(within.count() <= 3);
            }
            let end = now + secs(1000);
            let ongoing = episode.recovered(end).or(episode.due(end + secs(settle)));
            if let Some(DueLine::Ended { count, .. }) = ongoing { ended += count; }
            prop_assert_eq!(ended, occurred);
        }
    }
}
