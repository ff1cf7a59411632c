//! The time for which cached images still stand in for an origin that fails, for `/status`.

use std::time::Duration;

use tokio::time::Instant;

use super::freshness::Policy;
use super::{Cache, Entry};

/// Images that are looked at, which takes some milliseconds. Of more, these are a sample: the store has no order.
const MOST_EXAMINED: usize = 20_000;

/// Rest of the time in which cached images are served while the origin fails, as `/status` and the banner show it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StaleWindow {
    /// Number of images that would be served now if the origin failed, each Verbose counted by itself.
    pub images: usize,
    /// Time until the first of them is not served any more, because it is past `freshness.stale_if_error`.
    pub oldest: Duration,
    /// Time until the last of them is not served any more, if the origin answers nothing until then.
    pub newest: Duration,
}

impl<E: Clone + Send + Sync + 'static> Cache<E> {
    /// Returns the time that cached images last without the origin, as `freshness.stale_if_error` allows; `None` if none
    /// would be served.
    #[must_use]
    pub fn stale_window(&self, now: Instant) -> Option<StaleWindow> {
        let policy = self.policy.load();
        let entries = self.images.iter().take(MOST_EXAMINED);
        let left = entries.filter_map(|(_, entry)| time_left(&entry, &policy, now));
        left.fold(None, |window: Option<StaleWindow>, left| {
            let window = window.unwrap_or(StaleWindow {
                images: 0,
                oldest: left,
                newest: left,
            });
            Some(StaleWindow {
                images: window.images + 1,
                oldest: window.oldest.min(left),
                newest: window.newest.max(left),
            })
        })
    }
}

/// Returns the time until an entry is not served even while the origin fails; `None` once it is not.
fn time_left(entry: &Entry, policy: &Policy, now: Instant) -> Option<Duration> {
    let stale = policy
        .stale_if_error
        .0
        .max(policy.stale_while_revalidate(entry.ttl()));
    let left = (entry.ttl() + stale).checked_sub(entry.age(now))?;
    (!left.is_zero()).then_some(left)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use tokio_util::task::TaskTracker;

    use super::*;
    use crate::api::{ImageId, ImageKey};
    use crate::cache::Config;
    use crate::cache::tests::entry;
    use crate::observability::metrics::Metrics;
    use crate::upstream::UpstreamError;

    const DAY: Duration = Duration::from_secs(24 * 3600);

    #[tokio::test(start_paused = true)]
    async fn the_window_is_the_ttl_and_stale_if_error_of_the_oldest_and_the_newest() {
        let (config, metrics) = (Config::default(), Arc::new(Metrics::new()));
        let cache: Cache<UpstreamError> =
            Cache::new(&config, Policy::default(), metrics, TaskTracker::new());
        let window = || cache.stale_window(Instant::now());
        let put = |id: &str| {
            let image = ImageId::parse(id).unwrap();
            let key = ImageKey {
                image,
                verbose: false,
            };
            cache.images.insert(key, entry("{}"));
        };
        assert_eq!(window(), None);
        put("image-1");
        let hour = Duration::from_secs(3600);
        tokio::time::advance(hour).await;
        put("image-2");
        // An image without times has the fallback's ttl, a minute.
        let newest = Duration::from_secs(60) + DAY;
        let both = StaleWindow {
            images: 2,
            oldest: newest - hour,
            newest,
        };
        assert_eq!(window(), Some(both));
        tokio::time::advance(newest - hour).await;
        assert_eq!(
            window().map(|window| (window.images, window.oldest)),
            Some((1, hour))
        );
        tokio::time::advance(hour).await;
        assert_eq!(window(), None);
    }
}
