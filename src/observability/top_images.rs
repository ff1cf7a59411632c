//! An estimate of the most requested images of the last minutes, bounded in memory and cheap enough for every
//! hit.
//!
//! - Every request is counted while there is little traffic; beyond `BUSY_RATE` one of `BUSY_ONE_IN`, drawn
//!   at random and counted for all of them.
//! - A request that would have to wait for another thread's counting is not counted.
//! - A request counts half as much after each [`HALF_LIFE`], so that old ones are forgotten.
//!
//! It stores valid ids and numbers, nothing else of a request.

mod sketch;

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

use crate::api::ImageId;
use sketch::Sketch;

/// Time after which a request counts half.
pub const HALF_LIFE: Duration = Duration::from_secs(60);
/// One of so many requests is counted while there is much traffic.
const BUSY_ONE_IN: u32 = 16;
/// Requests a second beyond which traffic is sampled: a sample of the latest minutes then still has hundreds.
const BUSY_RATE: f64 = 100.0;

/// Estimate of the most requested images.
#[derive(Debug)]
pub struct TopImages {
    one_in: AtomicU32,
    sketch: Mutex<Sketch>,
}

/// An image and the estimate of its requests.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RankedImage {
    /// Id of the image.
    pub image: ImageId,
    /// Estimated number of requests, in which older ones count less.
    pub requests: u64,
}

impl TopImages {
    /// Creates an empty estimate.
    #[must_use]
    pub fn new() -> Self {
        Self {
            one_in: AtomicU32::new(1),
            sketch: Mutex::new(Sketch::new(HALF_LIFE, Instant::now())),
        }
    }

    /// Counts a request for this image, or skips it. Never waits.
    pub fn record(&self, image: &ImageId, now: Instant) {
        let one_in = self.one_in.load(Ordering::Relaxed);
        if fastrand::u32(..one_in) == 0 {
            self.count(image, one_in, now);
        }
    }

    /// Returns the most requested images, the first of them first.
    #[must_use]
    pub fn top(&self, images: usize, now: Instant) -> Vec<RankedImage> {
        self.sketch.lock().top(images, now)
    }

    /// Returns the sampling rate: one in so many requests is counted now.
    #[must_use]
    pub fn one_in(&self) -> u32 {
        self.one_in.load(Ordering::Relaxed)
    }

    #[inline(never)]
    fn count(&self, image: &ImageId, one_in: u32, now: Instant) {
        let Some(mut sketch) = self.sketch.try_lock() else {
            return;
        };
        let lately = sketch.count(image, f64::from(one_in), now);
        // At a steady rate, what decays by half in a half-life adds up to half-life / ln 2.
        let busy = lately * std::f64::consts::LN_2 > BUSY_RATE * HALF_LIFE.as_secs_f64();
        self.one_in
            .store(if busy { BUSY_ONE_IN } else { 1 }, Ordering::Relaxed);
    }
}

impl Default for TopImages {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn images(count: usize) -> Vec<ImageId> {
        (0..count)
            .map(|n| ImageId::parse(&format!("image-{n}")).unwrap())
            .collect()
    }

    #[test]
    fn few_requests_are_counted_each() {
        let (top_images, now) = (TopImages::new(), Instant::now());
        let images = images(3);
        for (image, times) in images.iter().zip([1, 3, 2]) {
            (0..times).for_each(|_| top_images.record(image, now));
        }
        let top: Vec<_> = top_images.top(2, now).iter().map(|r| r.requests).collect();
        assert_eq!(top, [3, 2]);
        assert_eq!(top_images.one_in(), 1);
    }

    #[test]
    fn of_many_requests_a_sample_tells_about_how_many() {
        let (top_images, start) = (TopImages::new(), Instant::now());
        let image = &images(1)[0];
        for millisecond in 0..120_000 {
            for _ in 0..5 {
                top_images.record(image, start + Duration::from_millis(millisecond));
            }
        }
        let now = start + Duration::from_secs(120);
        assert_eq!(top_images.one_in(), BUSY_ONE_IN);
        // 5,000 a second for two half-lives.
        let exact = 5_000.0 * HALF_LIFE.as_secs_f64() / std::f64::consts::LN_2 * 0.75;
        let estimate = top_images.top(1, now)[0].requests as f64;
        assert!(
            (estimate / exact - 1.0).abs() < 0.05,
            "{estimate} is not {exact}"
        );
    }

    #[test]
    fn when_it_is_quiet_again_every_request_counts_again() {
        let (top_images, start) = (TopImages::new(), Instant::now());
        let image = &images(1)[0];
        (0..100_000).for_each(|_| top_images.record(image, start));
        assert_eq!(top_images.one_in(), BUSY_ONE_IN);
        let later = start + 10 * HALF_LIFE;
        (0..1_000).for_each(|_| top_images.record(image, later));
        assert_eq!(top_images.one_in(), 1);
    }
}
