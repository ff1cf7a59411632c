//! Percentiles out of a histogram's buckets.

use prometheus::Histogram;
use prometheus::core::Metric;

use super::LATENCY_BUCKETS;

/// The latency in seconds below which a share of the answers lay, interpolated within its bucket as
/// Prometheus' `histogram_quantile` does; `None` before the first answer. What lies above the last
/// bound counts as that bound.
#[must_use]
pub fn quantile(histogram: &Histogram, share: f64) -> Option<f64> {
    let metric = histogram.metric();
    let data = metric.get_histogram();
    let buckets = data.get_bucket().iter();
    let buckets = buckets.map(|bucket| (bucket.upper_bound(), bucket.cumulative_count()));
    interpolated(buckets, data.get_sample_count(), share)
}

/// Number of answers that took up to each bound of the latency histograms, and of all at the end.
pub type LatencyCounts = [u64; LATENCY_BUCKETS.len() + 1];

/// Returns the counts of a latency histogram since the start; the difference of two is that of the time between.
#[must_use]
pub fn latency_counts(histogram: &Histogram) -> LatencyCounts {
    let metric = histogram.metric();
    let data = metric.get_histogram();
    let mut counts = [data.get_sample_count(); LATENCY_BUCKETS.len() + 1];
    for (count, bucket) in counts.iter_mut().zip(data.get_bucket()) {
        *count = bucket.cumulative_count();
    }
    counts
}

/// Returns the same as [`quantile`] for counts of the latency histograms, such as the difference of two readings.
#[must_use]
pub fn quantile_of_counts(counts: &LatencyCounts, share: f64) -> Option<f64> {
    let [.., total] = *counts;
    let buckets = LATENCY_BUCKETS.into_iter().zip(counts.iter().copied());
    interpolated(buckets, total, share)
}

fn interpolated(buckets: impl Iterator<Item = (f64, u64)>, total: u64, share: f64) -> Option<f64> {
    if total == 0 {
        return None;
    }
    let rank = total as f64 * share;
    let (mut lower, mut below) = (0.0, 0.0);
    for (upper, up_to) in buckets {
        let up_to = up_to as f64;
        if up_to >= rank && up_to > below {
            return Some(if upper.is_finite() {
                lower + (upper - lower) * (rank - below) / (up_to - below)
            } else {
                lower
            });
        }
        (lower, below) = (upper, up_to);
    }
    Some(lower)
}

#[cfg(test)]
mod tests {
    use prometheus::HistogramOpts;

    use super::*;

    #[test]
    fn a_quantile_lies_where_its_bucket_does() {
        let buckets = vec![0.001, 0.01, 0.1];
        let histogram =
            Histogram::with_opts(HistogramOpts::new("h", "h").buckets(buckets)).unwrap();
        assert_eq!(quantile(&histogram, 0.5), None);
        for _ in 0..99 {
            histogram.observe(0.005);
        }
        histogram.observe(5.0);
        let p50 = quantile(&histogram, 0.5).unwrap();
        assert!((0.001..0.01).contains(&p50), "{p50}");
        assert_eq!(quantile(&histogram, 1.0), Some(0.1));
    }
}
