//! Items that answer for GetImage, and those that may not.

use super::*;

#[tokio::test(start_paused = true)]
async fn an_item_answers_once_three_comparisons_agree() {
    let cache = cache(|_| {});
    list(
        &cache,
        1,
        &["a", "t1", "t2", "t3"].map(|image| item(image, 1)),
    )
    .await;
    for image in ["t1", "t2", "t3"] {
        assert_eq!(held(&cache, "a"), None);
        get(&cache, image, 1).await;
    }
    assert_eq!(held(&cache, "a"), Some((1, FRESH)));
    let listed = entry(&cache, "a");
    let expected = item("a", 1).replacen('{', r#"{"RequestId":"PAGE","#, 1);
    assert_eq!(listed.body(), expected.as_bytes());
    assert!(listed.is_listed() && listed.is_bound());
    // Its time is the page's, and the page keeps it for one and a half intervals.
    advance(Duration::from_secs(44)).await;
    assert_eq!(held(&cache, "a"), Some((1, FRESH)));
    advance(Duration::from_secs(17)).await;
    assert_ne!(held(&cache, "a"), Some((1, FRESH)));
}

#[tokio::test(start_paused = true)]
async fn a_denial_from_an_item_takes_as_long_as_a_fetch() {
    let cache = cache(|_| {});
    trusted(&cache).await;
    let asked = Instant::now();
    advance(Duration::from_secs(1)).await;
    apply(&cache, 2, asked, &[item("a", 1)]);
    assert_eq!(entry(&cache, "a").took(), MOMENT);
}

#[tokio::test(start_paused = true)]
async fn with_answer_off_items_only_renew() {
    let cache = cache(|config| config.answer = false);
    trusted(&cache).await;
    list(&cache, 2, &[item("a", 1), item("t1", 2)]).await;
    assert_eq!(held(&cache, "a"), None);
    assert_eq!(held(&cache, "t1"), Some((1, STALE)));
    assert_eq!(cache.entries_to_fetch(), [key("t1")]);
}

#[tokio::test(start_paused = true)]
async fn an_origin_whose_lists_differ_loses_trust_image_by_image_and_then_whole() {
    let cache = cache(|_| {});
    trusted(&cache).await;
    let images = ["a", "b", "c"];
    list(&cache, 2, &images.map(|image| item(image, 1))).await;
    for (walk, image) in (3..).zip(images) {
        cache
            .catalogue
            .as_ref()
            .unwrap()
            .state
            .lock()
            .table
            .get(&key(image))
            .unwrap();
        get(&cache, image, 9).await;
        assert_eq!(held(&cache, image), Some((9, FRESH)));
        list(&cache, walk, &images.map(|image| item(image, 1))).await;
        let status = cache.catalogue_status().unwrap();
        assert_eq!(u64::from(status.mismatches), walk - 2);
        assert_eq!(status.answering[0], walk < 5);
        // The page shows nothing new, so GetImage's answer stays.
        assert_eq!(held(&cache, image), Some((9, FRESH)));
    }
    assert!(cache.comparisons_due(false, |_| 0).is_empty());
}
