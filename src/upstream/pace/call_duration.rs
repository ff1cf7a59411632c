//! Estimate of how long a call takes, from which the ends of calls in flight are assumed.

use std::time::Duration;

/// Estimate before the first answer: a region's round trip and the API's work, on a new TLS connection.
const INITIAL: Duration = Duration::from_millis(100);
/// Bounds of the estimate; the upper one is the default deadline of a call.
const BOUNDS: (Duration, Duration) = (Duration::from_millis(1), Duration::from_secs(10));

/// Smoothed duration of recent calls and its deviation, as TCP estimates its round trip (RFC 6298).
#[derive(Debug, Default)]
pub(super) struct CallDuration(Option<(f64, f64)>);

impl CallDuration {
    /// Takes note of an answered call's duration.
    pub(super) fn record(&mut self, took: Duration) {
        let took = took.as_secs_f64();
        self.0 = Some(match self.0 {
            None => (took, took / 2.0),
            Some((mean, deviation)) => (
                0.875 * mean + 0.125 * took,
                0.75 * deviation + 0.25 * (mean - took).abs(),
            ),
        });
    }

    /// Returns the duration that most calls stay below: the mean and one deviation.
    pub(super) fn estimate(&self) -> Duration {
        let estimate = self.0.map_or(INITIAL, |(mean, deviation)| {
            Duration::try_from_secs_f64(mean + deviation).unwrap_or(BOUNDS.1)
        });
        estimate.clamp(BOUNDS.0, BOUNDS.1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_estimate_follows_the_calls() {
        let ms = Duration::from_millis;
        let mut duration = CallDuration::default();
        assert_eq!(duration.estimate(), INITIAL);
        duration.record(ms(40));
        assert_eq!(duration.estimate(), ms(60));
        for _ in 0..50 {
            duration.record(ms(200));
        }
        assert!((ms(195)..=ms(205)).contains(&duration.estimate()));
        for _ in 0..50 {
            duration.record(Duration::from_secs(60));
        }
        assert_eq!(duration.estimate(), Duration::from_secs(10));
    }
}
