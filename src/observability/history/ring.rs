//! The points as a value: what a sample adds, and what it drops.

use std::collections::VecDeque;

use super::super::metrics::LatencyCounts;
use super::super::outcome::Outcome;
use super::{OUTCOMES, POINTS, Percentiles, Point, RECENT, RecentLatencies, SampledTotals};

/// Latencies between two samples, by outcome. 32 bits count four billion in ten seconds.
type LatencyDeltas = [[u32; BUCKETS]; OUTCOMES];

const BUCKETS: usize = size_of::<LatencyCounts>() / size_of::<u64>();

/// The latest points, and the totals of the latest sample, from which the next one takes its differences.
#[derive(Debug)]
pub(super) struct Ring {
    last: Option<Box<SampledTotals>>,
    points: VecDeque<Point>,
    latencies: VecDeque<LatencyDeltas>,
}

impl Ring {
    /// Creates an empty ring that has room for all its points, so that it never grows while the gateway runs.
    pub(super) fn new() -> Self {
        Self {
            last: None,
            points: VecDeque::with_capacity(POINTS),
            latencies: VecDeque::with_capacity(RECENT),
        }
    }

    /// Adds the point between the totals before and these, and drops what is too old. The first totals add no point,
    /// since nothing says how long they took.
    pub(super) fn add(&mut self, totals: SampledTotals, in_flight: u32, time: i64) {
        let totals = Box::new(totals);
        let Some(before) = self.last.as_ref() else {
            self.last = Some(totals);
            return;
        };
        let mut deltas: LatencyDeltas = [[0; BUCKETS]; OUTCOMES];
        for (outcome, delta) in deltas.iter_mut().enumerate() {
            *delta = since(&before.latencies[outcome], &totals.latencies[outcome]);
        }
        let point = Point {
            time,
            seconds: totals.at.saturating_duration_since(before.at).as_secs_f32(),
            requests: since(&before.requests, &totals.requests),
            calls: since(&before.calls, &totals.calls),
            in_flight,
            latency: Percentiles::of(&summed(deltas.iter())),
        };
        push(&mut self.points, POINTS, point);
        push(&mut self.latencies, RECENT, deltas);
        self.last = Some(totals);
    }

    /// Returns a copy of the points, the oldest first, so that the lock is not held while they are written.
    pub(super) fn points(&self) -> Vec<Point> {
        self.points.iter().cloned().collect()
    }

    /// Returns the latencies of the recent points, at most the last five minutes; `None` without a point.
    pub(super) fn recent_latencies(&self) -> Option<RecentLatencies> {
        let recent = self.points.iter().rev().take(self.latencies.len());
        let seconds = recent.map(|point| point.seconds).sum();
        let of = |outcome: Outcome| {
            let counts = summed(self.latencies.iter().map(|each| &each[outcome as usize]));
            Some((outcome, Percentiles::of(&counts)?))
        };
        (!self.latencies.is_empty()).then(|| RecentLatencies {
            seconds,
            by_outcome: Outcome::ALL.into_iter().filter_map(of).collect(),
        })
    }

    /// Returns the memory that the ring takes when it is full, in bytes, the room in its queues included.
    #[cfg(test)]
    pub(super) fn bytes(&self) -> usize {
        size_of::<Self>()
            + size_of::<SampledTotals>()
            + self.points.capacity() * size_of::<Point>()
            + self.latencies.capacity() * size_of::<LatencyDeltas>()
    }
}

fn push<T>(ring: &mut VecDeque<T>, most: usize, item: T) {
    if ring.len() == most {
        ring.pop_front();
    }
    ring.push_back(item);
}

/// Returns the increase of each count; none for a count that fell, which a counter of one process never does.
fn since<const N: usize>(before: &[u64; N], after: &[u64; N]) -> [u32; N] {
    let mut increase = [0; N];
    for (at, increase) in increase.iter_mut().enumerate() {
        *increase = u32::try_from(after[at].saturating_sub(before[at])).unwrap_or(u32::MAX);
    }
    increase
}

fn summed<'a>(each: impl Iterator<Item = &'a [u32; BUCKETS]>) -> LatencyCounts {
    let mut sums = LatencyCounts::default();
    for counts in each {
        for (sum, count) in sums.iter_mut().zip(counts) {
            *sum += u64::from(*count);
        }
    }
    sums
}
