mod model;

use std::time::Duration;

use http::HeaderValue;
use jiff::Timestamp;

use super::flight::WaitError;
use super::freshness::OriginCacheControl;
use super::*;
use crate::api::{ImageFields, OriginError};
use crate::units::ByteSize;
use crate::upstream::UpstreamFreshness;

type TestCache = Arc<Cache<&'static str>>;

fn cache(config: &Config) -> TestCache {
    Arc::new(Cache::new(
        config,
        Policy::default(),
        Arc::new(Metrics::new()),
        TaskTracker::new(),
    ))
}

fn key(id: &str) -> ImageKey {
    ImageKey {
        image: ImageId::parse(id).unwrap(),
        verbose: false,
    }
}

pub(super) fn entry(body: &str) -> Arc<Entry> {
    let arrival = FetchedImage {
        body: body.to_owned().into(),
        fields: ImageFields::parse(body.as_bytes()).unwrap(),
        request_id: Some(HeaderValue::from_static("r")),
        sent: Instant::now(),
        took: Duration::ZERO,
        received: Timestamp::now(),
        date: None,
        cache_control: String::new(),
        upstream: UpstreamFreshness::default(),
    };
    Arc::new(Entry::new(arrival, false, &Policy::default(), 0.0))
}

fn image(body: &str) -> CachedAnswer {
    CachedAnswer::Image(entry(body))
}

fn no() -> CachedAnswer {
    let (error, kind) = (OriginError::default(), NegativeKind::NotFound);
    CachedAnswer::Negative(Arc::new(Negative {
        error,
        kind,
        took: Duration::ZERO,
        sent: Instant::now(),
        received: Timestamp::now(),
    }))
}

/// The result of a fetch that no deadline cuts short.
async fn result_of(
    waiter: FetchWaiter<&'static str>,
) -> Result<FetchResult<&'static str>, WaitError> {
    let end = Instant::now() + Duration::from_secs(60);
    waiter.wait_until(|_| end).await
}

async fn fetched(cache: &TestCache, key: &ImageKey, brings: FetchResult<&'static str>) {
    let known = cache.look_up(key, Instant::now());
    let Fetch::Started(waiter) =
        cache.fetch(key, &known, Priority::Miss, || Ok(()), |_| async { brings })
    else {
        panic!("not started")
    };
    let _ = result_of(waiter).await.unwrap();
}

fn knows(cache: &TestCache, key: &ImageKey) -> &'static str {
    match cache.look_up(key, Instant::now()) {
        LookupResult::Image(_, Freshness::Fresh) => "fresh",
        LookupResult::Image(_, Freshness::StaleWhileRevalidate) => "stale",
        LookupResult::Image(_, Freshness::StaleIfError | Freshness::Expired) => "stale if error",
        LookupResult::Negative(_) => "negative",
        LookupResult::Miss => "nothing",
    }
}

#[tokio::test(start_paused = true)]
async fn an_image_ages_through_its_windows() {
    let (cache, key) = (cache(&Config::default()), key("a"));
    fetched(&cache, &key, Ok(image("{}"))).await;
    for (advance, expected) in [
        (59, "fresh"),
        (1, "stale"),
        (60, "stale if error"),
        (86_400, "nothing"),
    ] {
        tokio::time::advance(Duration::from_secs(advance)).await;
        assert_eq!(knows(&cache, &key), expected);
    }
}

#[tokio::test(start_paused = true)]
async fn a_no_replaces_both_variants_and_an_image_replaces_the_no() {
    let (cache, plain) = (cache(&Config::default()), key("a"));
    let verbose = ImageKey {
        verbose: true,
        ..plain.clone()
    };
    fetched(&cache, &plain, Ok(image("{}"))).await;
    fetched(&cache, &verbose, Ok(no())).await;
    assert_eq!(
        (knows(&cache, &plain), knows(&cache, &verbose)),
        ("negative", "negative")
    );
    fetched(&cache, &verbose, Ok(image("{}"))).await;
    assert_eq!(
        (knows(&cache, &plain), knows(&cache, &verbose)),
        ("nothing", "fresh")
    );
    fetched(&cache, &plain, Ok(no())).await;
    tokio::time::advance(Duration::from_secs(10)).await;
    assert_eq!(knows(&cache, &plain), "nothing");
}

#[tokio::test]
async fn an_answer_that_must_not_be_stored_replaces_the_stored_one() {
    let policy = Policy {
        origin_cache_control: OriginCacheControl::Respect,
        ..Policy::default()
    };
    let metrics = Arc::new(Metrics::new());
    let cache: TestCache = Arc::new(Cache::new(
        &Config::default(),
        policy.clone(),
        metrics,
        TaskTracker::new(),
    ));
    let key = key("a");
    let arrival = |cache_control: &str| FetchedImage {
        body: "{}".into(),
        fields: ImageFields::default(),
        request_id: None,
        sent: Instant::now(),
        took: Duration::ZERO,
        received: Timestamp::now(),
        date: None,
        cache_control: cache_control.to_owned(),
        upstream: UpstreamFreshness::default(),
    };
    for (cache_control, expected) in [("", "fresh"), ("no-store", "nothing")] {
        fetched(&cache, &key, Ok(no())).await;
        let entry = Entry::new(arrival(cache_control), false, &policy, 0.0);
        fetched(&cache, &key, Ok(CachedAnswer::Image(Arc::new(entry)))).await;
        assert_eq!(knows(&cache, &key), expected);
    }
}

#[tokio::test]
async fn errors_are_never_stored() {
    let (cache, key) = (cache(&Config::default()), key("a"));
    fetched(&cache, &key, Err("down")).await;
    assert_eq!(knows(&cache, &key), "nothing");
}

#[tokio::test]
async fn a_fetch_that_began_before_an_invalidation_is_not_stored_after_it() {
    let (cache, key) = (cache(&Config::default()), key("a"));
    let (send, brings) = tokio::sync::oneshot::channel::<CachedAnswer>();
    let Fetch::Started(waiter) = cache.fetch(
        &key,
        &LookupResult::Miss,
        Priority::Miss,
        || Ok(()),
        |_| async { brings.await.map_err(|_| "gone") },
    ) else {
        panic!("not started")
    };
    cache.invalidate(&key.image);
    send.send(image("{\"old\":1}")).unwrap();
    assert!(result_of(waiter).await.unwrap().is_ok());
    assert_eq!(knows(&cache, &key), "nothing");
}

#[tokio::test]
async fn a_soft_purge_keeps_images_for_a_failing_origin_only() {
    let (cache, key) = (cache(&Config::default()), key("a"));
    fetched(&cache, &key, Ok(image("{}"))).await;
    assert_eq!(
        cache.purge(&PurgeTarget::Image(key.image.clone()), PurgeMode::Soft),
        1
    );
    assert_eq!(knows(&cache, &key), "stale if error");
    assert_eq!(cache.purge(&PurgeTarget::All, PurgeMode::Hard), 1);
    assert_eq!(knows(&cache, &key), "nothing");
}

#[tokio::test]
async fn a_workspace_is_purged_alone() {
    let cache = cache(&Config::default());
    for (id, body) in [
        ("a", r#"{"WorkspaceId":"1"}"#),
        ("b", r#"{"WorkspaceId":"2"}"#),
        ("c", "{}"),
    ] {
        fetched(&cache, &key(id), Ok(image(body))).await;
    }
    assert_eq!(
        cache.purge(&PurgeTarget::Workspace("1".to_owned()), PurgeMode::Hard),
        1
    );
    assert_eq!(
        ["a", "b", "c"].map(|id| knows(&cache, &key(id))),
        ["nothing", "fresh", "fresh"]
    );
}

#[tokio::test(start_paused = true)]
async fn another_object_under_the_same_id_gets_the_shortest_ttl() {
    let (cache, key) = (cache(&Config::default()), key("a"));
    for uri in ["one", "one", "two"] {
        fetched(
            &cache,
            &key,
            Ok(image(&format!(r#"{{"ImageUri":"{uri}"}}"#))),
        )
        .await;
        tokio::time::advance(Duration::from_millis(1)).await;
    }
    assert_eq!(cache.metrics.cache_incarnations.get(), 1);
    tokio::time::advance(Duration::from_secs(30)).await;
    assert_eq!(knows(&cache, &key), "stale");
}

#[tokio::test]
async fn invented_ids_evict_no_image() {
    let cache = cache(&Config {
        max_negative: 10,
        ..Config::default()
    });
    fetched(&cache, &key("real"), Ok(image("{}"))).await;
    for number in 0..1000 {
        fetched(&cache, &key(&format!("made-up-{number}")), Ok(no())).await;
    }
    let usage = cache.usage();
    assert_eq!((knows(&cache, &key("real")), usage.entries), ("fresh", 1));
    assert!(usage.negative_entries <= 10, "{usage:?}");
}

#[tokio::test]
async fn the_store_stays_within_its_bytes() {
    let cache = cache(&Config {
        max_bytes: ByteSize(100_000),
        ..Config::default()
    });
    for number in 0..1000 {
        fetched(&cache, &key(&format!("i{number}")), Ok(image("{}"))).await;
    }
    let usage = cache.usage();
    assert!(usage.bytes <= 100_000 && usage.entries > 0, "{usage:?}");
}
