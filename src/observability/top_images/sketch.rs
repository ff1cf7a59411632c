//! Counts of a stream's most frequent images in bounded memory: Space-Saving (Metwally, Agrawal,
//! El Abbadi, 2005), with counts that decay.
//!
//! A bounded number of images have a count of their own. One more replaces the least counted and inherits its
//! count, so that a frequent image is never kept out; the inherited part is remembered and not reported. Counts
//! decay by growing the weight of new requests instead of shrinking every count.

use std::collections::HashMap;
use std::time::Duration;

use tokio::time::Instant;

use super::RankedImage;
use crate::api::ImageId;

/// Number of images counted at once: any that makes up more than 1/128 of the stream is among them.
const CAPACITY: usize = 128;
/// Weight beyond which counts are scaled back, far below where f64 would lose single requests.
const MAX_WEIGHT: f64 = 1e6;
/// Parts of a half-life within which all requests have the same weight, which is then exact to 0.1 %.
const MOMENTS: u32 = 1_000;

/// The counts of the most frequent images.
#[derive(Debug)]
pub(super) struct Sketch {
    half_life: Duration,
    counts: HashMap<ImageId, Count, foldhash::fast::RandomState>,
    total: f64,
    /// Time at which a request has the weight 1.
    since: Instant,
    /// The weight of requests until `weighed_until`.
    weight: f64,
    weighed_until: Instant,
}

#[derive(Debug, Clone, Copy, Default)]
struct Count {
    all: f64,
    /// The part of it that replaced images brought.
    inherited: f64,
}

impl Sketch {
    pub(super) fn new(half_life: Duration, now: Instant) -> Self {
        Self {
            half_life,
            counts: HashMap::with_capacity_and_hasher(CAPACITY, Default::default()),
            total: 0.0,
            since: now,
            weight: 1.0,
            weighed_until: now,
        }
    }

    /// Counts requests for one image, and returns the decayed number for all images.
    pub(super) fn count(&mut self, image: &ImageId, requests: f64, now: Instant) -> f64 {
        if now >= self.weighed_until {
            self.weigh(now);
        }
        let weight = self.weight;
        let added = requests * weight;
        self.total += added;
        match self.counts.get_mut(image) {
            Some(count) => count.all += added,
            None => self.admit(image, added),
        }
        self.total / weight
    }

    /// Returns the most frequent images, the first of them first; none that counts for less than half a request.
    pub(super) fn top(&self, images: usize, now: Instant) -> Vec<RankedImage> {
        let weight = self.weight(now);
        let ranked = self.counts.iter().map(|(image, count)| RankedImage {
            image: image.clone(),
            requests: ((count.all - count.inherited) / weight).round() as u64,
        });
        let mut ranked: Vec<_> = ranked.filter(|ranked| ranked.requests > 0).collect();
        ranked.sort_by(|a, b| {
            let fewer = b.requests.cmp(&a.requests);
            fewer.then_with(|| a.image.cmp(&b.image))
        });
        ranked.truncate(images);
        ranked
    }

    fn admit(&mut self, image: &ImageId, added: f64) {
        let mut inherited = 0.0;
        if self.counts.len() == CAPACITY {
            let least = self
                .counts
                .iter()
                .min_by(|(_, a), (_, b)| a.all.total_cmp(&b.all));
            if let Some((least, count)) = least.map(|(image, count)| (image.clone(), *count)) {
                self.counts.remove(&least);
                inherited = count.all;
            }
        }
        let all = inherited + added;
        self.counts.insert(image.clone(), Count { all, inherited });
    }

    /// Sets the weight of the requests of the next moment, for which an exponential each would cost more than counting.
    fn weigh(&mut self, now: Instant) {
        self.weight = self.weight(now);
        if self.weight > MAX_WEIGHT {
            self.rescale(self.weight, now);
            self.weight = 1.0;
        }
        self.weighed_until = now + self.half_life / MOMENTS;
    }

    /// Returns the weight of a request now, relative to one at `since`.
    fn weight(&self, now: Instant) -> f64 {
        let half_lives =
            now.saturating_duration_since(self.since).as_secs_f64() / self.half_life.as_secs_f64();
        half_lives.exp2()
    }

    fn rescale(&mut self, weight: f64, now: Instant) {
        for count in self.counts.values_mut() {
            count.all /= weight;
            count.inherited /= weight;
        }
        self.total /= weight;
        self.since = now;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);

    fn image(n: usize) -> ImageId {
        ImageId::parse(&format!("image-{n}")).unwrap()
    }

    #[test]
    fn the_most_frequent_images_of_a_skewed_stream_match_an_exact_count() {
        let now = Instant::now();
        let mut sketch = Sketch::new(MINUTE, now);
        let mut exact: HashMap<ImageId, u64> = HashMap::new();
        let mut random = fastrand::Rng::with_seed(7);
        for _ in 0..200_000 {
            // Nearly Zipf over 5,000 images.
            let n = 5_000_f64.powf(random.f64()) as usize;
            *exact.entry(image(n)).or_default() += 1;
            sketch.count(&image(n), 1.0, now);
        }
        let mut expected: Vec<_> = exact.iter().collect();
        expected.sort_by(|a, b| b.1.cmp(a.1));
        let ranked_images = sketch.top(10, now);
        for (ranked, (image, count)) in ranked_images.iter().zip(expected) {
            assert_eq!(ranked.image, *image);
            let share = ranked.requests as f64 / *count as f64;
            assert!((0.95..=1.0).contains(&share), "{ranked:?}, really {count}");
        }
    }

    #[test]
    fn an_even_stream_has_no_favourites_and_takes_no_more_places() {
        let now = Instant::now();
        let mut sketch = Sketch::new(MINUTE, now);
        for round in 0..20 {
            for n in 0..1_000 {
                sketch.count(&image(n), 1.0, now);
            }
            assert_eq!(sketch.counts.len(), CAPACITY, "{round}");
        }
        assert!(sketch.top(20, now).iter().all(|r| r.requests <= 20));
        assert_eq!(sketch.top(20, now).len(), 20);
    }

    #[test]
    fn a_request_counts_half_after_a_half_life() {
        let start = Instant::now();
        let mut sketch = Sketch::new(MINUTE, start);
        sketch.count(&image(1), 800.0, start);
        for (minutes, left) in [(0, 800), (1, 400), (3, 100), (10, 1)] {
            let ranked_images = sketch.top(1, start + minutes * MINUTE);
            assert_eq!(ranked_images[0].requests, left, "{minutes}");
        }
        assert!(sketch.top(1, start + 11 * MINUTE).is_empty());
        // So long that f64 has no number for the weight.
        let much_later = start + 5_000 * MINUTE;
        assert!(sketch.top(1, much_later).is_empty());
        assert_eq!(sketch.count(&image(2), 3.0, much_later), 3.0);
        let ranked_images = sketch.top(2, much_later);
        assert_eq!((ranked_images.len(), ranked_images[0].requests), (1, 3));
    }

    #[test]
    fn scaling_back_changes_nothing() {
        let start = Instant::now();
        let mut sketch = Sketch::new(MINUTE, start);
        for minute in 0..100 {
            let lately = sketch.count(&image(1), 100.0, start + minute * MINUTE);
            assert!(lately <= 200.0, "{minute}: {lately}");
        }
        assert_eq!(sketch.top(1, start + 99 * MINUTE)[0].requests, 200);
    }
}
