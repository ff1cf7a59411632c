//! The size that the cache reports is the growth of the process. The test runs alone in its process, which it measures.

use std::fs;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::HeaderValue;
use jiff::Timestamp;
use pai_image_gateway::api::{ImageFields, ImageId, ImageKey};
use pai_image_gateway::cache::{
    Cache, CachedAnswer, Config, Entry, Fetch, FetchedImage, LookupResult, Policy,
};
use pai_image_gateway::observability::metrics::Metrics;
use pai_image_gateway::units::ByteSize;
use pai_image_gateway::upstream::UpstreamFreshness;
use pai_image_gateway::upstream::priority::Priority;
use tokio::time::Instant;
use tokio_util::task::TaskTracker;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Largest relative difference between the reported size and the growth of the process.
const TOLERANCE: f64 = 0.15;

/// Returns a body of this many bytes in the origin's form.
fn body(length: usize) -> String {
    let start = r#"{"Accessibility":"PUBLIC","UserId":"155770209999998921","WorkspaceId":"15945","GmtModifiedTime":"2021-01-21T17:12:35.232Z","RequestId":"5A14FA81-DD4E-4F3B-8B1A-6343FE44B941","Description":""#;
    format!("{start}{}\"}}", "x".repeat(length - start.len() - 2))
}

fn entry(body: &str) -> Arc<Entry> {
    let arrival = FetchedImage {
        body: Bytes::copy_from_slice(body.as_bytes()),
        fields: ImageFields::parse(body.as_bytes()).expect("an object"),
        request_id: Some(HeaderValue::from_static(
            "5A14FA81-DD4E-4F3B-8B1A-6343FE44B941",
        )),
        sent: Instant::now(),
        took: Duration::from_millis(40),
        received: Timestamp::now(),
        date: None,
        cache_control: String::new(),
        upstream: UpstreamFreshness::default(),
    };
    Arc::new(Entry::new(arrival, false, &Policy::default(), 0.5))
}

fn resident() -> u64 {
    let status = fs::read_to_string("/proc/self/statm").expect("Linux");
    let pages: u64 = status
        .split(' ')
        .nth(1)
        .and_then(|pages| pages.parse().ok())
        .expect("a number");
    pages * rustix::param::page_size() as u64
}

/// Fetches this many images, each of which is read and so cloned once; returns the growth of the process in bytes.
async fn fill(cache: &Arc<Cache<()>>, images: usize, body_length: usize) -> u64 {
    let body = body(body_length);
    let before = resident();
    for number in 0..images {
        let image = ImageId::parse(&format!("image-{number:018}")).expect("digits make an id");
        let (key, answer) = (
            ImageKey {
                image,
                verbose: false,
            },
            CachedAnswer::Image(entry(&body)),
        );
        let fetch = cache.fetch(
            &key,
            &LookupResult::Miss,
            Priority::Miss,
            || Ok(()),
            |_| async { Ok(answer) },
        );
        let end = Instant::now() + Duration::from_secs(60);
        let Fetch::Started(waiter) = fetch else {
            panic!("not started")
        };
        let Ok(Ok(CachedAnswer::Image(entry))) = waiter.wait_until(|_| end).await else {
            panic!("not completed")
        };
        assert_eq!(entry.body().len(), body.len());
    }
    // Evicts entries beyond the limit.
    let _ = cache.usage();
    resident().saturating_sub(before)
}

fn cache(max_bytes: u64) -> Arc<Cache<()>> {
    let config = Config {
        max_bytes: ByteSize(max_bytes),
        ..Config::default()
    };
    let (metrics, tasks) = (Arc::new(Metrics::new()), TaskTracker::new());
    Arc::new(Cache::new(&config, Policy::default(), metrics, tasks))
}

#[tokio::test]
async fn the_reported_size_is_the_growth_of_the_process() {
    // Caches are kept, so that a later one does not reuse the memory that an earlier one freed.
    let mut kept = Vec::new();
    for (mebibytes, images, body_length) in [
        (48, 30_000, 626),
        (32, 40_000, 626),
        (64, 20_000, 4096),
        (32, 20_000, 1500),
    ] {
        let cache = cache(mebibytes << 20);
        let grown = fill(&cache, images, body_length).await;
        let usage = cache.usage();
        kept.push(cache);
        let ratio = grown as f64 / usage.bytes as f64;
        let each = grown / usage.entries;
        println!(
            "{} of {images} images of {body_length} bytes: {each} bytes each, {ratio:.3} of what was counted",
            usage.entries
        );
        assert!(usage.bytes <= usage.max_bytes);
        assert!((ratio - 1.0).abs() <= TOLERANCE, "{ratio}");
    }
}
