//! Walks that show every image, and those that may not have.

use super::*;
use crate::api::ImageUri;
use crate::cache::catalogue::PageRefused;

fn end(walk: u64, started: Instant, is_steady: bool) -> WalkEnd {
    WalkEnd {
        scope: 0,
        verbose: false,
        walk,
        started,
        pages: 1,
        is_steady,
    }
}

/// Walks the images in one page that takes 40 ms.
async fn walk(cache: &TestCache, images: &[&str], is_steady: bool) {
    let (walk, started) = (cache.begin_walk(), Instant::now());
    let items: Vec<_> = images.iter().map(|image| item(image, 1)).collect();
    list(cache, walk, &items).await;
    cache.end_walk(end(walk, started, is_steady), Instant::now());
}

/// The images that carry the URI of an image; `None` where a list is to be asked for.
fn carriers(cache: &TestCache, image: &str) -> Option<Vec<String>> {
    let uri = ImageUri::parse(&format!("r/{image}"), false).unwrap();
    let [scope] = &cache
        .catalogue_config()
        .unwrap()
        .scopes()
        .collect::<Vec<_>>()[..]
    else {
        panic!("one scope")
    };
    let listed = cache.listed_by_uri(&uri, std::slice::from_ref(scope), Instant::now())?;
    Some(listed.iter().map(|image| image.id.to_string()).collect())
}

async fn covered() -> Arc<TestCache> {
    let cache = cache(|_| {});
    trusted(&cache).await;
    walk(&cache, &["a", "t1", "t2", "t3"], true).await;
    assert_eq!(carriers(&cache, "a"), Some(vec!["a".to_owned()]));
    assert_eq!(carriers(&cache, "none"), Some(Vec::new()));
    cache
}

#[tokio::test(start_paused = true)]
async fn a_walk_in_which_an_image_may_be_missing_says_nothing_about_uris() {
    let cache = covered().await;
    walk(&cache, &["a", "t1", "t2", "t3"], false).await;
    assert_eq!(carriers(&cache, "a"), None);
    walk(&cache, &["a", "t1", "t2", "t3"], true).await;
    assert!(carriers(&cache, "a").is_some());
}

#[tokio::test(start_paused = true)]
async fn after_an_invalidation_uris_are_searched_until_the_next_walk() {
    for change in [
        PurgeTarget::All,
        PurgeTarget::Workspace("1".to_owned()),
        PurgeTarget::Image(key("a").image),
        // An image was added.
        PurgeTarget::Lists,
    ] {
        let cache = covered().await;
        // A walk under way may have read its pages before.
        let (number, started) = (cache.begin_walk(), Instant::now());
        advance(MOMENT).await;
        cache.purge(&change, PurgeMode::Hard);
        assert_eq!(carriers(&cache, "a"), None, "{change:?}");
        cache.end_walk(end(number, started, true), Instant::now());
        assert_eq!(carriers(&cache, "a"), None, "{change:?}");
        advance(MOMENT).await;
        walk(&cache, &["a", "t1", "t2", "t3"], true).await;
        assert_eq!(
            carriers(&cache, "a"),
            Some(vec!["a".to_owned()]),
            "{change:?}"
        );
    }
    let cache = covered().await;
    fetch(&cache, "t1", denial).await;
    assert_eq!(carriers(&cache, "a"), None, "a denial");
}

#[tokio::test(start_paused = true)]
async fn a_walk_from_before_a_lost_invalidation_says_nothing_about_uris() {
    let cache = covered().await;
    cache.set_stale_before(Some(Instant::now()));
    assert_eq!(carriers(&cache, "a"), None);
    cache.set_stale_before(None);
    assert!(carriers(&cache, "a").is_some());
}

#[tokio::test(start_paused = true)]
async fn an_item_that_a_newer_page_shows_is_not_gone_from_an_older_walk() {
    let cache = covered().await;
    let started = Instant::now();
    walk(&cache, &["a", "t1", "t2", "t3"], true).await;
    // Another replica's walk from before arrives late: its page does nothing, and none of its images is gone.
    let late = cache.begin_walk();
    let items = ["a", "t1", "t2", "t3"].map(|image| item(image, 1));
    apply(&cache, late, started, &items[..2]);
    cache.end_walk(end(late, started, true), Instant::now());
    assert_eq!(cache.catalogue_status().unwrap().images, 4);
    assert!(cache.entries_to_fetch().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_walk_whose_items_were_dropped_neither_stores_nor_ends() {
    let cache = cache(|config| config.max_bytes = crate::units::ByteSize(1000));
    let (number, started) = (cache.begin_walk(), Instant::now());
    let page = |items: &[&str]| {
        let raws = items
            .iter()
            .map(|image| RawValue::from_string(item(image, 1)).unwrap());
        let raws: Vec<_> = raws.collect();
        let page = PageOfWalk {
            scope: 0,
            verbose: false,
            walk: number,
            answer: page_since(started),
            images: raws.iter().map(|raw| &**raw).collect(),
        };
        cache
            .apply_page(page, Instant::now())
            .map(|images| images.len())
    };
    assert_eq!(page(&["a", "b"]), Ok(2));
    assert_eq!(page(&["c"]), Err(PageRefused::NoRoom));
    cache.end_walk(end(number, started, true), Instant::now());
    let status = cache.catalogue_status().unwrap();
    assert_eq!(
        (status.images, status.scopes[0].paused),
        (0, Some("memory"))
    );
    assert!(status.scopes[0].last_walk.is_none());
}

#[tokio::test(start_paused = true)]
async fn a_bound_entry_is_fresh_for_one_and_a_half_intervals_whatever_its_ttl() {
    let cache = covered().await;
    cache.set_policy(Policy {
        fallback: crate::units::HumanDuration::secs(5),
        ..Policy::default()
    });
    let asked = Instant::now() + MOMENT;
    walk(&cache, &["a", "t1", "t2", "t3"], true).await;
    for (seconds, is_fresh) in [(44_900, true), (45_100, false)] {
        let at = asked + Duration::from_millis(seconds);
        advance(at - Instant::now()).await;
        for image in ["a", "t1"] {
            let fresh = held(&cache, image).is_some_and(|(_, freshness)| freshness == FRESH);
            assert_eq!(fresh, is_fresh, "{image} at {seconds} ms");
        }
    }
}
