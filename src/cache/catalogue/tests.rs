//! Pages, answers and invalidations in each order, and random ones against a model of the origin.

mod cover;
mod model;
mod trust;

use std::time::Duration;

use jiff::Timestamp;
use serde_json::value::RawValue;
use tokio::time::{Instant, advance};
use tokio_util::task::TaskTracker;

use super::{Config, PageAnswer, PageOfWalk, WalkEnd};
use crate::api::{ImageFields, ImageId, ImageKey, OriginError};
use crate::cache::{
    Cache, CachedAnswer, Entry, Fetch, FetchedImage, Freshness, LookupResult, Negative,
    NegativeKind, Policy, PurgeMode, PurgeTarget,
};
use crate::observability::metrics::Metrics;
use crate::upstream::UpstreamFreshness;
use crate::upstream::priority::Priority;
use std::sync::Arc;

type TestCache = Cache<&'static str>;

/// A cache whose catalogue walks workspace 1, of 30 s between two walks.
fn cache(change: impl FnOnce(&mut Config)) -> Arc<TestCache> {
    let mut config = Config {
        workspaces: vec!["1".to_owned()],
        ..Config::default()
    };
    change(&mut config);
    let metrics = Arc::new(Metrics::new());
    let cache = Cache::new(
        &crate::cache::Config::default(),
        Policy::default(),
        metrics,
        TaskTracker::new(),
    );
    Arc::new(cache.with_catalogue(&config))
}

fn key(image: &str) -> ImageKey {
    ImageKey {
        image: ImageId::parse(image).unwrap(),
        verbose: false,
    }
}

/// An item of this image and version.
fn item(image: &str, version: u32) -> String {
    format!(
        r#"{{"ImageId":"{image}","Name":"v{version}","ImageUri":"r/{image}","WorkspaceId":"1","Accessibility":"PUBLIC"}}"#
    )
}

/// Times of an answer that was asked for at `sent` and is complete now.
fn page_since(sent: Instant) -> PageAnswer {
    PageAnswer {
        request_id: Some("PAGE".to_owned()),
        request_id_header: None,
        sent,
        took: Instant::now() - sent,
        received: Timestamp::now(),
        date: None,
        cache_control: String::new(),
        upstream: UpstreamFreshness::default(),
    }
}

/// Applies a page, asked for at `sent` and complete now.
fn apply(cache: &TestCache, walk: u64, sent: Instant, items: &[String]) {
    let raws: Vec<Box<RawValue>> = items
        .iter()
        .map(|item| RawValue::from_string(item.clone()).unwrap())
        .collect();
    let page = PageOfWalk {
        scope: 0,
        verbose: false,
        walk,
        answer: page_since(sent),
        images: raws.iter().map(|raw| &**raw).collect(),
    };
    cache.apply_page(page, Instant::now()).unwrap();
}

/// Makes GetImage's answer of this version, asked for at `sent` and complete now.
fn answer(image: &str, version: u32, sent: Instant) -> CachedAnswer {
    let members = item(image, version);
    let body = members.replacen('{', r#"{"RequestId":"GET","#, 1);
    CachedAnswer::Image(Arc::new(Entry::new(
        FetchedImage {
            fields: ImageFields::parse(body.as_bytes()).unwrap(),
            body: body.into(),
            request_id: None,
            sent,
            took: Instant::now() - sent,
            received: Timestamp::now(),
            date: None,
            cache_control: String::new(),
            upstream: UpstreamFreshness::default(),
        },
        false,
        &Policy::default(),
        0.0,
    )))
}

fn denial(sent: Instant) -> CachedAnswer {
    CachedAnswer::Negative(Arc::new(Negative {
        error: OriginError::default(),
        kind: NegativeKind::NotFound,
        sent,
        took: Instant::now() - sent,
        received: Timestamp::now(),
    }))
}

/// Fetches an image in 40 ms.
async fn fetch(
    cache: &Arc<TestCache>,
    image: &str,
    answer: impl FnOnce(Instant) -> CachedAnswer + Send + 'static,
) {
    let key = key(image);
    let seen = cache.look_up(&key, Instant::now());
    let sent = Instant::now();
    let start = |_| async move {
        tokio::time::sleep(MOMENT).await;
        Ok(answer(sent))
    };
    match cache.fetch(&key, &seen, Priority::Miss, || Ok(()), start) {
        Fetch::Started(waiter) => {
            let deadline = Instant::now() + Duration::from_secs(60);
            assert!(waiter.wait_until(|_| deadline).await.unwrap().is_ok());
        }
        other => panic!("not started: {other:?}"),
    }
}

async fn get(cache: &Arc<TestCache>, image: &'static str, version: u32) {
    fetch(cache, image, move |sent| answer(image, version, sent)).await;
}

/// Asks for a page after 40 ms, and applies it 40 ms later.
async fn list(cache: &TestCache, walk: u64, items: &[String]) {
    advance(MOMENT).await;
    let sent = Instant::now();
    advance(MOMENT).await;
    apply(cache, walk, sent, items);
    advance(MOMENT).await;
}

/// The version in memory, and its freshness.
fn held(cache: &TestCache, image: &str) -> Option<(u32, Freshness)> {
    match cache.look_up(&key(image), Instant::now()) {
        LookupResult::Image(entry, freshness) => Some((version(&entry), freshness)),
        LookupResult::Negative(_) | LookupResult::Miss => None,
    }
}

fn version(entry: &Entry) -> u32 {
    let body: serde_json::Value = serde_json::from_slice(&entry.body()).unwrap();
    body["Name"].as_str().unwrap()[1..].parse().unwrap()
}

fn entry(cache: &TestCache, image: &str) -> Arc<Entry> {
    match cache.look_up(&key(image), Instant::now()) {
        LookupResult::Image(entry, _) => entry,
        other => panic!("{image}: {other:?}"),
    }
}

/// Three images whose items and answers agree, so that items may answer.
async fn trusted(cache: &Arc<TestCache>) {
    let images = ["t1", "t2", "t3"];
    list(
        cache,
        cache.begin_walk(),
        &images.map(|image| item(image, 1)),
    )
    .await;
    for image in images {
        get(cache, image, 1).await;
    }
}

const MOMENT: Duration = Duration::from_millis(40);
const FRESH: Freshness = Freshness::Fresh;
const STALE: Freshness = Freshness::StaleIfError;

#[tokio::test(start_paused = true)]
async fn a_page_renews_what_is_bound_and_nothing_else() {
    let cache = cache(|_| {});
    get(&cache, "a", 1).await;
    advance(Duration::from_secs(20)).await;
    list(&cache, 1, &[item("a", 1)]).await;
    // Bound, and not yet renewed.
    let age = |cache: &TestCache| entry(cache, "a").age(Instant::now());
    assert!(age(&cache) > Duration::from_secs(20));
    advance(Duration::from_secs(30)).await;
    list(&cache, 2, &[item("a", 1)]).await;
    assert!(age(&cache) <= 2 * MOMENT);
    assert_eq!(held(&cache, "a"), Some((1, FRESH)));
    // The same member by member, but in other bytes: bound anew, not renewed.
    advance(Duration::from_secs(30)).await;
    list(&cache, 3, &[item("a", 1).replace(',', ", ")]).await;
    assert!(age(&cache) > Duration::from_secs(30));
}

#[tokio::test(start_paused = true)]
async fn a_changed_item_replaces_an_older_entry() {
    let cache = cache(|_| {});
    trusted(&cache).await;
    list(&cache, 2, &[item("t1", 2)]).await;
    assert_eq!(held(&cache, "t1"), Some((2, FRESH)));
    assert!(entry(&cache, "t1").is_listed());
    assert!(cache.entries_to_fetch().is_empty());
}

#[tokio::test(start_paused = true)]
async fn an_older_page_does_nothing_to_a_newer_entry() {
    let cache = cache(|_| {});
    trusted(&cache).await;
    let asked = Instant::now();
    advance(MOMENT).await;
    apply(&cache, 2, asked, &[item("a", 1)]);
    advance(MOMENT).await;
    get(&cache, "t1", 2).await;
    get(&cache, "a", 2).await;
    assert_eq!(held(&cache, "a"), Some((2, FRESH)));
    // Its item answers no more: it would go back in time.
    cache.invalidate(&key("t1").image);
    assert_eq!(held(&cache, "a"), Some((2, FRESH)));
    assert!(cache.entries_to_fetch().is_empty());
    // The next page shows the change: no mismatch.
    list(&cache, 3, &[item("a", 2)]).await;
    assert_eq!(cache.catalogue_status().unwrap().mismatches, 0);
}

#[tokio::test(start_paused = true)]
async fn where_page_and_answer_overlap_and_differ_the_image_is_fetched() {
    let cache = cache(|_| {});
    trusted(&cache).await;
    // The page is asked for, and the answer, before either comes.
    let asked = Instant::now();
    get(&cache, "a", 2).await;
    apply(&cache, 2, asked, &[item("a", 1)]);
    assert_eq!(held(&cache, "a"), Some((2, STALE)));
    assert_eq!(cache.entries_to_fetch(), [key("a")]);
    // The other way round.
    let sent = Instant::now();
    fetch(&cache, "b", {
        let cache = Arc::clone(&cache);
        move |asked| {
            apply(&cache, 2, asked, &[item("b", 1)]);
            answer("b", 2, sent)
        }
    })
    .await;
    assert_eq!(held(&cache, "b"), Some((2, STALE)));
    assert_eq!(cache.entries_to_fetch(), [key("b")]);
}

#[tokio::test(start_paused = true)]
async fn an_item_that_is_gone_makes_its_entry_stale_and_denies_nothing() {
    let cache = cache(|_| {});
    trusted(&cache).await;
    let started = Instant::now();
    list(&cache, 2, &[item("t1", 1), item("t2", 1)]).await;
    let end = |walk, is_steady| WalkEnd {
        scope: 0,
        verbose: false,
        walk,
        started,
        pages: 1,
        is_steady,
    };
    cache.end_walk(end(2, false), Instant::now());
    assert_eq!(held(&cache, "t3"), Some((1, FRESH)));
    cache.end_walk(end(2, true), Instant::now());
    assert_eq!(held(&cache, "t3"), Some((1, STALE)));
    assert_eq!(cache.entries_to_fetch(), [key("t3")]);
    assert_eq!(held(&cache, "t1"), Some((1, FRESH)));
}

#[tokio::test(start_paused = true)]
async fn a_page_from_before_an_invalidation_does_nothing() {
    type Invalidation = fn(&TestCache) -> u64;
    let all: [(&str, Invalidation); 5] = [
        ("write", |cache| cache.invalidate(&key("a").image)),
        ("hard", |cache| {
            cache.purge(&PurgeTarget::Image(key("a").image), PurgeMode::Hard)
        }),
        ("soft", |cache| {
            cache.purge(&PurgeTarget::Image(key("a").image), PurgeMode::Soft)
        }),
        ("workspace", |cache| {
            cache.purge(&PurgeTarget::Workspace("1".to_owned()), PurgeMode::Hard)
        }),
        ("all", |cache| {
            cache.purge(&PurgeTarget::All, PurgeMode::Hard)
        }),
    ];
    for (name, invalidate) in all {
        let cache = cache(|_| {});
        trusted(&cache).await;
        list(&cache, 2, &[item("a", 1)]).await;
        let asked = Instant::now();
        advance(MOMENT).await;
        invalidate(&cache);
        assert_eq!(held(&cache, "a"), None, "{name}");
        advance(MOMENT).await;
        apply(&cache, 3, asked, &[item("a", 1)]);
        assert_eq!(held(&cache, "a"), None, "{name}");
        list(&cache, 4, &[item("a", 2)]).await;
        assert_eq!(held(&cache, "a"), Some((2, FRESH)), "{name}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_denial_drops_the_item_and_a_later_page_brings_another() {
    let cache = cache(|_| {});
    trusted(&cache).await;
    list(&cache, 2, &[item("a", 1)]).await;
    let asked = Instant::now();
    // Nobody has asked for it yet: GetImage, in a fetch of its own, says that it is gone.
    fetch(&cache, "a", denial).await;
    apply(&cache, 3, asked, &[item("a", 1)]);
    assert!(matches!(
        cache.look_up(&key("a"), Instant::now()),
        LookupResult::Negative(_)
    ));
    list(&cache, 4, &[item("a", 2)]).await;
    assert_eq!(held(&cache, "a"), Some((2, FRESH)));
}

#[tokio::test(start_paused = true)]
async fn whole_workspaces_leave_when_there_is_no_room_the_last_first() {
    let cache = cache(|config| {
        config.workspaces.push("2".to_owned());
        config.max_bytes = crate::units::ByteSize(2000);
    });
    let page = |scope, image: &str| {
        let raw = RawValue::from_string(item(image, 1)).unwrap();
        let page = PageOfWalk {
            scope,
            verbose: false,
            walk: 1,
            answer: page_since(Instant::now()),
            images: vec![&raw],
        };
        drop(cache.apply_page(page, Instant::now()));
    };
    page(0, "a");
    page(1, "b");
    assert_eq!(cache.catalogue_status().unwrap().images, 2);
    page(0, "c");
    let status = cache.catalogue_status().unwrap();
    assert_eq!(
        (status.images, status.scopes[1].paused),
        (2, Some("memory"))
    );
    assert_eq!(cache.scopes_due(Instant::now()).len(), 1);
    advance(Duration::from_secs(601)).await;
    assert_eq!(cache.scopes_due(Instant::now()).len(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_walk_is_made_for_each_verbose_that_clients_asked_for_lately() {
    let cache = cache(|_| {});
    let due = || cache.verboses_due(Instant::now());
    assert_eq!(due(), [false]);
    let ask = |verbose| cache.client_asks(verbose);
    // The walker's own lookups are no client's.
    drop(cache.look_up(&key("a"), Instant::now()));
    assert_eq!(due(), [false]);
    ask(true);
    assert_eq!(due(), [true]);
    cache.forget_clients(true);
    advance(Duration::from_secs(400)).await;
    ask(false);
    assert_eq!(due(), [false, true]);
    cache.forget_clients(false);
    advance(Duration::from_secs(300)).await;
    assert_eq!(due(), [false]);
    advance(Duration::from_secs(600)).await;
    assert!(due().is_empty());
}
