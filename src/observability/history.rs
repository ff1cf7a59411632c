//! The last hour of a gateway's figures, a point each ten seconds, so that a status page opened after an incident
//! shows it.
//!
//! [`PastHour::sample`] takes the difference of the metrics' totals since the sample before. A request adds nothing to
//! it. A test bounds its memory at 200 KiB.

mod ring;

use std::time::Duration;

use jiff::Timestamp;
use parking_lot::Mutex;
use tokio::time::Instant;

use super::metrics::{LatencyCounts, Metrics, latency_counts, quantile_of_counts};
use super::outcome::{CallResult, Outcome};
use ring::Ring;

/// Time between two points: short enough to show an incident of a minute, long enough that an hour is small.
pub const INTERVAL: Duration = Duration::from_secs(10);
/// Number of points that are kept, which is an hour of them; the oldest makes way for the newest.
const POINTS: usize = 360;
/// Number of latest points whose latencies are kept by outcome: five minutes of them, about 23 KB.
const RECENT: usize = 30;

const OUTCOMES: usize = Outcome::ALL.len();
const RESULTS: usize = CallResult::ALL.len();

/// Median and 99th percentile of latencies, in seconds, as exact as the histograms' buckets allow.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Percentiles {
    /// Latency that half of the answers did not exceed, interpolated within its bucket.
    pub p50: f64,
    /// Latency that 99 of 100 answers did not exceed, interpolated within its bucket.
    pub p99: f64,
}

impl Percentiles {
    /// Returns the percentiles of counted latencies; `None` without any.
    fn of(counts: &LatencyCounts) -> Option<Self> {
        Some(Self {
            p50: quantile_of_counts(counts, 0.50)?,
            p99: quantile_of_counts(counts, 0.99)?,
        })
    }
}

/// Figures of the time between two samples, as counts, from which a reader makes rates.
#[derive(Debug, Clone, PartialEq)]
pub struct Point {
    /// Wall-clock time of the point's end, in milliseconds since 1970.
    pub time: i64,
    /// Length in seconds, which exceeds the interval where the process or the machine was suspended.
    pub seconds: f32,
    /// Answers of all operations in this time, in the order of `Outcome::ALL`.
    pub requests: [u32; OUTCOMES],
    /// Calls to the origin that ended in this time, in the order of `CallResult::ALL`.
    pub calls: [u32; RESULTS],
    /// Calls to the origin that were in flight at the point's end; peaks between two points are not seen.
    pub in_flight: u32,
    /// Latencies of GetImage's answers of every outcome; `None` if there were none in this time.
    pub latency: Option<Percentiles>,
}

/// Latencies of GetImage in the last minutes, beside which those since the start look backwards only.
#[derive(Debug, Clone, PartialEq)]
pub struct RecentLatencies {
    /// Length of that time in seconds: five minutes, or less after a start.
    pub seconds: f32,
    /// Percentiles of each outcome that occurred in that time, in the order of `Outcome::ALL`.
    pub by_outcome: Vec<(Outcome, Percentiles)>,
}

/// Ring of the last hour's points, shared by the task that samples and the admin listener that reads.
#[derive(Debug)]
pub struct PastHour(Mutex<Ring>);

impl Default for PastHour {
    fn default() -> Self {
        Self(Mutex::new(Ring::new()))
    }
}

impl PastHour {
    /// Adds the point from the sample before to `now`, whose wall-clock time is `time`. The first sample adds none.
    pub fn sample(&self, metrics: &Metrics, now: Instant, time: Timestamp) {
        let totals = SampledTotals {
            at: now,
            requests: metrics.requests(None),
            calls: metrics.upstream_requests(),
            latencies: latencies(metrics),
        };
        let in_flight = u32::try_from(metrics.upstream_in_flight.get()).unwrap_or(0);
        self.0.lock().add(totals, in_flight, time.as_millisecond());
    }

    /// Returns a copy of the points, the oldest first; empty until one interval after the start.
    #[must_use]
    pub fn points(&self) -> Vec<Point> {
        self.0.lock().points()
    }

    /// Returns GetImage's latencies in the last minutes, up to the latest sample; `None` before the first point.
    #[must_use]
    pub fn recent_latencies(&self) -> Option<RecentLatencies> {
        self.0.lock().recent_latencies()
    }
}

/// Totals of the metrics since the start, as one sample read them.
#[derive(Debug)]
struct SampledTotals {
    at: Instant,
    requests: [u64; OUTCOMES],
    calls: [u64; RESULTS],
    latencies: [LatencyCounts; OUTCOMES],
}

fn latencies(metrics: &Metrics) -> [LatencyCounts; OUTCOMES] {
    let mut latencies = [LatencyCounts::default(); OUTCOMES];
    for (outcome, histogram) in metrics.latencies() {
        latencies[outcome as usize] = latency_counts(histogram);
    }
    latencies
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::Action;

    fn at(start: Instant, seconds: u64) -> (Instant, Timestamp) {
        let time = Timestamp::from_second(1_800_000_000 + i64::try_from(seconds).unwrap());
        (start + Duration::from_secs(seconds), time.unwrap())
    }

    #[test]
    fn a_point_has_what_happened_since_the_one_before() {
        let (history, metrics, start) = (PastHour::default(), Metrics::new(), Instant::now());
        let answer = |outcome, milliseconds| {
            let took = Duration::from_millis(milliseconds);
            metrics.answered(Action::GetImage, outcome, took);
        };
        let sample = |seconds| {
            let (now, time) = at(start, seconds);
            history.sample(&metrics, now, time);
        };
        answer(Outcome::Hit, 4_000);
        sample(0);
        assert_eq!(
            (history.points(), history.recent_latencies()),
            (vec![], None)
        );
        answer(Outcome::Hit, 7);
        answer(Outcome::Error, 7);
        metrics.called(Action::GetImage, CallResult::Timeout, Duration::ZERO);
        sample(10);
        sample(20);
        let points = history.points();
        let [busy, idle] = points.as_slice() else {
            panic!("{points:?}")
        };
        assert_eq!((busy.time, busy.seconds), (1_800_000_010_000, 10.0));
        assert_eq!(busy.requests[Outcome::Hit as usize], 1);
        assert_eq!(busy.requests[Outcome::Error as usize], 1);
        assert_eq!(busy.calls[CallResult::Timeout as usize], 1);
        assert_eq!(idle.requests, [0; OUTCOMES]);
        assert_eq!(idle.latency, None);
        let of = |latency: Option<Percentiles>| latency.map(|latency| latency.p99).unwrap();
        assert!((0.005..=0.01).contains(&of(busy.latency)), "{busy:?}");
        let recent = history.recent_latencies().unwrap();
        assert_eq!(recent.seconds, 20.0);
        let outcomes: Vec<_> = recent
            .by_outcome
            .iter()
            .map(|(outcome, _)| *outcome)
            .collect();
        assert_eq!(outcomes, [Outcome::Hit, Outcome::Error]);
        assert!(
            recent
                .by_outcome
                .iter()
                .all(|(_, latency)| latency.p99 <= 0.01)
        );
    }

    #[test]
    fn recent_latencies_forget_what_is_older_than_five_minutes() {
        let (history, metrics, start) = (PastHour::default(), Metrics::new(), Instant::now());
        for sample in 0..=31 {
            if sample == 1 {
                metrics.answered(Action::GetImage, Outcome::Miss, Duration::from_secs(1));
            }
            let (now, time) = at(start, sample * 10);
            history.sample(&metrics, now, time);
            let recent = history.recent_latencies();
            let known = recent.is_some_and(|recent| !recent.by_outcome.is_empty());
            assert_eq!(known, (1..=30).contains(&sample), "{sample}");
        }
    }

    #[test]
    fn an_hour_is_kept_in_200_kib() {
        let (history, metrics, start) = (PastHour::default(), Metrics::new(), Instant::now());
        for sample in 0..1_000 {
            let (now, time) = at(start, sample * INTERVAL.as_secs());
            history.sample(&metrics, now, time);
        }
        let points = history.points();
        let first = points.first().unwrap();
        let last = points.last().unwrap();
        assert_eq!(last.time - first.time, (3_600 - 10) * 1_000);
        let bytes = history.0.lock().bytes();
        assert!(bytes <= 200 << 10, "{bytes}");
    }
}
