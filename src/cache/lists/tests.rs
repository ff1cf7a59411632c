use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use proptest::prelude::*;
use tokio::sync::oneshot;
use tokio_util::task::TaskTracker;

use super::*;
use crate::cache::freshness::{Directives, OriginCacheControl};
use crate::cache::{Config as CacheConfig, Policy, PurgeTarget};
use crate::observability::metrics::Metrics;
use crate::observability::outcome::StaleReason;
use crate::units::HumanDuration;
use crate::upstream::UpstreamFreshness;

type TestCache = Arc<Cache<&'static str>>;

const SECOND: Duration = Duration::from_secs(1);

pub(super) fn key(query: &str) -> ListKey {
    ListKey {
        action: Action::ListImages,
        query: query.into(),
    }
}

/// A page of so many bytes, asked for now.
pub(super) fn page(length: usize) -> Arc<ListPage> {
    Arc::new(page_of(Bytes::from(vec![b'x'; length]), &Config::default()))
}

fn page_of(body: Bytes, config: &Config) -> ListPage {
    ListPage::new(fetched(body), config, &Policy::default())
}

fn fetched(body: Bytes) -> FetchedPage {
    FetchedPage {
        body,
        request_id: None,
        sent: Instant::now(),
        took: Duration::ZERO,
        directives: Directives::default(),
        upstream: UpstreamFreshness::default(),
    }
}

fn cache(config: Config) -> TestCache {
    let (metrics, tasks) = (Arc::new(Metrics::new()), TaskTracker::new());
    let cache = Cache::new(&CacheConfig::default(), Policy::default(), metrics, tasks);
    Arc::new(cache.with_lists(config))
}

fn join(
    cache: &TestCache,
    seen: &ListLookup,
    fetch: impl Future<Output = Result<ListAnswer, &'static str>> + Send + 'static,
) -> ListFetch<&'static str> {
    cache.fetch_list(&key("q"), seen, Priority::Miss, || Ok(()), |_| fetch)
}

async fn result_of(waiter: ListWaiter<&'static str>) -> Result<ListAnswer, &'static str> {
    let end = Instant::now() + Duration::from_secs(60);
    waiter.wait_until(|_| end).await.unwrap()
}

/// Fetches in a flight of its own, which lands at once.
async fn fetch(cache: &TestCache, result: Result<ListAnswer, &'static str>) {
    let seen = cache.look_up_list(&key("q"), Instant::now());
    let Fetch::Started(waiter) = join(cache, &seen, async { result }) else {
        panic!("not started")
    };
    let _ = result_of(waiter).await;
}

async fn fill(cache: &TestCache) {
    let page = Arc::new(page_of(Bytes::from_static(b"{}"), cache.list_config()));
    fetch(cache, Ok(ListAnswer::Page(page))).await;
}

fn knows(cache: &TestCache) -> &'static str {
    match cache.look_up_list(&key("q"), Instant::now()) {
        ListLookup::Page(_, Freshness::Fresh) => "fresh",
        ListLookup::Page(_, Freshness::StaleWhileRevalidate) => "stale",
        ListLookup::Page(_, Freshness::StaleIfError | Freshness::Expired) => "stale if error",
        ListLookup::Miss => "nothing",
    }
}

#[tokio::test(start_paused = true)]
async fn a_page_ages_through_its_windows() {
    let cache = cache(Config::default());
    fill(&cache).await;
    for (seconds, state) in [
        (14, "fresh"),
        (1, "stale"),
        (14, "stale"),
        (1, "stale if error"),
        (86_384, "stale if error"),
        (1, "nothing"),
    ] {
        tokio::time::advance(SECOND * seconds).await;
        assert_eq!(knows(&cache), state);
    }
}

#[tokio::test(start_paused = true)]
async fn age_counts_from_the_request() {
    let cache = cache(Config::default());
    let (bring, brought) = oneshot::channel();
    let page = page(2);
    let Fetch::Started(waiter) = join(&cache, &ListLookup::Miss, async {
        brought.await.map_err(|_| "lost")
    }) else {
        panic!("not started")
    };
    tokio::time::advance(SECOND * 14).await;
    bring.send(ListAnswer::Page(page)).unwrap();
    result_of(waiter).await.unwrap();
    assert_eq!(knows(&cache), "fresh");
    tokio::time::advance(SECOND).await;
    assert_eq!(knows(&cache), "stale");
}

#[tokio::test(start_paused = true)]
async fn a_hard_purge_drops_every_list_and_a_soft_one_leaves_it_for_errors() {
    let image = PurgeTarget::Image(crate::api::ImageId::parse("a").unwrap());
    let workspace = PurgeTarget::Workspace("1".to_owned());
    for target in [image, workspace, PurgeTarget::Lists, PurgeTarget::All] {
        let cache = cache(Config::default());
        fill(&cache).await;
        cache.purge(&target, PurgeMode::Soft);
        assert_eq!(knows(&cache), "stale if error", "{target:?}");
        cache.purge(&target, PurgeMode::Hard);
        assert_eq!(knows(&cache), "nothing", "{target:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn lists_that_may_have_missed_an_invalidation_are_stale() {
    let cache = cache(Config::default());
    fill(&cache).await;
    cache.set_stale_before(Some(Instant::now() + SECOND));
    assert_eq!(knows(&cache), "stale");
    cache.set_stale_before(None);
    assert_eq!(knows(&cache), "fresh");
}

#[tokio::test(start_paused = true)]
async fn an_error_leaves_the_page_and_a_denial_removes_it() {
    let cache = cache(Config::default());
    fill(&cache).await;
    fetch(&cache, Err("throttled")).await;
    assert_eq!(knows(&cache), "fresh");
    fetch(&cache, Ok(ListAnswer::Denied(OriginError::default()))).await;
    assert_eq!(knows(&cache), "nothing");
}

#[tokio::test(start_paused = true)]
async fn a_ttl_of_zero_stores_nothing_and_still_coalesces() {
    let cache = cache(Config {
        ttl: HumanDuration::secs(0),
        ..Config::default()
    });
    let (bring, brought) = oneshot::channel();
    let miss = ListLookup::Miss;
    let Fetch::Started(first) = join(&cache, &miss, async { brought.await.map_err(|_| "lost") })
    else {
        panic!("not started")
    };
    let Fetch::Joined(second) = join(&cache, &miss, async { Err("a second call") }) else {
        panic!("not joined")
    };
    let page = page_of(Bytes::from_static(b"{}"), cache.list_config());
    bring.send(ListAnswer::Page(Arc::new(page))).unwrap();
    for waiter in [first, second] {
        assert!(result_of(waiter).await.is_ok());
    }
    assert_eq!(knows(&cache), "nothing");
}

#[tokio::test(start_paused = true)]
async fn a_parents_copy_is_as_old_as_it_says_and_no_fresher_than_there() {
    let config = Config::default();
    let state = |age: u32, left: i64, reason, after: u32| {
        let fetched = FetchedPage {
            upstream: UpstreamFreshness::new(SECOND * age, Some(left), reason),
            ..fetched(Bytes::new())
        };
        let page = ListPage::new(fetched, &config, &Policy::default());
        page.freshness(&config, Instant::now() + SECOND * after)
    };
    assert_eq!(state(10, 5, None, 4), Freshness::Fresh);
    assert_eq!(state(10, 5, None, 5), Freshness::StaleWhileRevalidate);
    // Stale there, so fresh here for a second only.
    let failed = Some(StaleReason::OriginError);
    assert_eq!(state(20, -5, failed, 0), Freshness::Fresh);
    assert_eq!(state(20, -5, failed, 1), Freshness::StaleWhileRevalidate);
}

#[tokio::test(start_paused = true)]
async fn the_origins_directives_count_as_the_policy_of_images_says() {
    let decided = |directives: &str, origin_cache_control| {
        let policy = Policy {
            origin_cache_control,
            ..Policy::default()
        };
        let fetched = FetchedPage {
            directives: Directives::parse(directives),
            ..fetched(Bytes::new())
        };
        let page = ListPage::new(fetched, &Config::default(), &policy);
        (page.ttl.as_secs(), page.storable)
    };
    use OriginCacheControl::{Cap, Ignore, Respect};
    assert_eq!(decided("max-age=5", Cap), (5, true));
    assert_eq!(decided("max-age=50", Cap), (15, true));
    assert_eq!(decided("no-store", Cap), (15, true));
    assert_eq!(decided("no-store", Respect), (15, false));
    assert_eq!(decided("max-age=5", Ignore), (15, true));
}

/// A list of the origin as a fetch has read it, not landed yet.
struct Flying {
    version: u64,
    bring: oneshot::Sender<ListAnswer>,
    waiter: ListWaiter<&'static str>,
}

#[derive(Debug, Clone)]
enum Step {
    Fetch,
    Land(prop::sample::Index),
    Write,
    SoftPurge,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        3 => Just(Step::Fetch),
        3 => any::<prop::sample::Index>().prop_map(Step::Land),
        1 => Just(Step::Write),
        1 => Just(Step::SoftPurge),
    ]
}

fn versioned(version: u64) -> ListAnswer {
    let body = Bytes::from(version.to_string());
    ListAnswer::Page(Arc::new(page_of(body, &Config::default())))
}

fn version(page: &ListPage) -> u64 {
    std::str::from_utf8(&page.body).unwrap().parse().unwrap()
}

/// Each write and each soft purge begins a new version at the origin. A page that is served as fresh has the
/// version of now; after a write nothing older is held at all.
async fn run(steps: Vec<Step>) {
    let cache = cache(Config::default());
    let (mut now, mut written) = (0, 0);
    let mut flying: Vec<Flying> = Vec::new();
    for step in steps {
        match step {
            Step::Fetch => {
                let (bring, brought) = oneshot::channel();
                let fetch = async { brought.await.map_err(|_| "lost") };
                if let Fetch::Started(waiter) = join(&cache, &ListLookup::Miss, fetch) {
                    let version = now;
                    flying.push(Flying {
                        version,
                        bring,
                        waiter,
                    });
                }
            }
            Step::Land(_) if flying.is_empty() => {}
            Step::Land(which) => {
                let landing = flying.remove(which.index(flying.len()));
                landing.bring.send(versioned(landing.version)).unwrap();
                result_of(landing.waiter).await.unwrap();
            }
            Step::Write => {
                now += 1;
                written = now;
                cache.purge(&PurgeTarget::Lists, PurgeMode::Hard);
            }
            Step::SoftPurge => {
                now += 1;
                cache.purge(&PurgeTarget::Lists, PurgeMode::Soft);
            }
        }
        match cache.look_up_list(&key("q"), Instant::now()) {
            ListLookup::Page(page, Freshness::Fresh) => assert_eq!(version(&page), now),
            ListLookup::Page(page, _) => assert!((written..now).contains(&version(&page))),
            ListLookup::Miss => {}
        }
    }
}

proptest! {
    #[test]
    fn no_list_is_older_than_the_last_write(steps in prop::collection::vec(step(), 0..40)) {
        tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(run(steps));
    }
}

/// Readers and a writer on threads of their own: a read that begins after a write was answered sees it.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn concurrent_readers_never_see_a_list_from_before_a_write() {
    const WRITES: u64 = 2_000;
    let cache = cache(Config::default());
    let (origin, answered) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
    let readers: Vec<_> = (0..3)
        .map(|_| {
            let (cache, origin, answered) = (cache.clone(), origin.clone(), answered.clone());
            tokio::spawn(async move {
                let (mut reads, mut floor) = (0u64, 0);
                while floor < WRITES {
                    floor = answered.load(Ordering::SeqCst);
                    let seen = read(&cache, &origin).await;
                    assert!(seen >= floor, "{seen} after {floor} was written");
                    reads += 1;
                }
                reads
            })
        })
        .collect();
    for write in 1..=WRITES {
        origin.store(write, Ordering::SeqCst);
        cache.purge(&PurgeTarget::Lists, PurgeMode::Hard);
        answered.store(write, Ordering::SeqCst);
        tokio::task::yield_now().await;
    }
    for reader in readers {
        assert!(reader.await.unwrap() > 0);
    }
}

async fn read(cache: &TestCache, origin: &Arc<AtomicU64>) -> u64 {
    let lookup = cache.look_up_list(&key("q"), Instant::now());
    if let ListLookup::Page(page, _) = &lookup {
        return version(page);
    }
    let origin = Arc::clone(origin);
    let fetch = async move {
        let read = origin.load(Ordering::SeqCst);
        tokio::task::yield_now().await;
        Ok(versioned(read))
    };
    let answer = match join(cache, &lookup, fetch) {
        Fetch::Started(waiter) | Fetch::Joined(waiter) => result_of(waiter).await.unwrap(),
        Fetch::AlreadyCached(answer) => answer,
        Fetch::RateLimited(_) => unreachable!("every start is admitted"),
    };
    match answer {
        ListAnswer::Page(page) => version(&page),
        ListAnswer::Denied(_) => unreachable!("the origin denies nothing"),
    }
}
