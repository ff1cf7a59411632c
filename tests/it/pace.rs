//! The pace of calls to the origin, whose emulator counts each operation's calls of every second.

use std::time::Duration;

use futures_util::future::join_all;
use http::Method;
use pai_image_gateway::emulator::{Fault, Store};
use tokio::time::sleep;

use crate::support::signed::{Guarded, Signer};
use crate::support::{Answer, ONE_CROWD, Setup, TestGateway, path, throttle, times};

/// The vendor's quota of reads.
const QUOTA: u32 = 50;
const IMAGES: usize = 200;

fn quota(setup: &mut Setup) {
    setup.pace_as_set();
    setup.origin.quota_per_second = Some(QUOTA);
    setup.origin.latency = Duration::from_millis(40);
    setup.origin.images = IMAGES;
}

fn told(answer: &Answer) -> Duration {
    assert_eq!(answer.error(), (429, "Throttling".to_owned()));
    Duration::from_millis(answer.header("x-acs-retry-after").parse().unwrap())
}

/// Returns how often the origin throttled.
fn throttles(gateway: &TestGateway) -> u64 {
    let counts = gateway.emulator.counts();
    counts.codes.get("Throttling.User").copied().unwrap_or(0)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_hundred_images_at_once_cost_two_hundred_calls_and_two_tries() {
    let _crowd = ONE_CROWD.lock().await;
    let gateway = TestGateway::start(quota).await;
    let refused = join_all((0..IMAGES).map(async |index| {
        let id = Store::id(index);
        let first = gateway.image(&id).await;
        if first.status == 200 {
            return 0;
        }
        sleep(told(&first)).await;
        gateway.image(&id).await.found();
        1
    }))
    .await;
    assert_eq!(throttles(&gateway), 0);
    assert_eq!(gateway.calls(), IMAGES as u64);
    let refused: usize = refused.into_iter().sum();
    assert!(refused > 0, "more than a client's patience has room for");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_resolve_of_cold_images_keeps_the_pace() {
    let _crowd = ONE_CROWD.lock().await;
    let gateway = TestGateway::start(quota).await;
    let ids: Vec<_> = (0..120).map(Store::id).collect();
    let body = serde_json::json!({ "ImageIds": ids }).to_string();
    let target = "/gateway/v1/resolve";
    let answer = gateway.request(Method::POST, target, &[], &body).await;
    let results = answer.found()["Results"].clone();
    let results = results.as_array().unwrap();
    let found = results.iter().filter(|result| result["Status"] == "found");
    assert_eq!(found.count(), ids.len(), "{results:?}");
    assert_eq!((throttles(&gateway), gateway.calls()), (0, 120));
}

#[tokio::test]
async fn a_throttled_read_waits_the_throttle_out_and_lowers_the_pace() {
    let gateway = TestGateway::start(Setup::pace_as_set).await;
    let pace = [("operation", "GetImage")];
    let pace = async || gateway.metric("pai_gateway_upstream_pace", &pace).await;
    assert_eq!(pace().await, 47.0);
    let short = throttle(Some(Duration::from_millis(200)));
    gateway.emulator.script(vec![times(1, short)]);
    gateway.image(&Store::id(1)).await.found();
    assert_eq!(gateway.calls(), 2);
    // Two thirds of 47.5.
    assert_eq!(pace().await, 31.0);
    let lists = [("operation", "ListImages")];
    let lists = gateway.metric("pai_gateway_upstream_pace", &lists).await;
    assert_eq!(lists, 47.0);
}

/// Each of these clients would wait for two windows of a second.
#[tokio::test]
async fn a_throttle_that_lasts_and_names_no_time_costs_no_two_calls_a_request() {
    let gateway = TestGateway::start(Setup::pace_as_set).await;
    gateway.emulator.script(vec![Fault::always(throttle(None))]);
    for index in 0..20 {
        let answer = gateway.image(&Store::id(index)).await;
        assert_eq!(answer.error(), (429, "Throttling.User".to_owned()));
    }
    // The first, the one after its second, and on a slow machine one after four more.
    assert!((2..=3).contains(&gateway.calls()), "{}", gateway.calls());
}

#[tokio::test]
async fn a_throttled_list_holds_no_image_back() {
    let gateway = TestGateway::start(Setup::pace_as_set).await;
    let long = throttle(Some(Duration::from_secs(20)));
    gateway.emulator.script(vec![Fault::always(long)]);
    let list = gateway.get("/api/v1/images?WorkspaceId=15945").await;
    assert_eq!(list.error(), (429, "Throttling.User".to_owned()));
    gateway.emulator.script(Vec::new());
    gateway.image(&Store::id(1)).await.found();
    let list = gateway.get("/api/v1/images?WorkspaceId=15945").await;
    assert_eq!(list.error(), (429, "Throttling.User".to_owned()));
    let operations = gateway.page("/status").await["upstream"]["operations"].clone();
    assert_eq!(
        operations["ListImages"]["held"],
        serde_json::json!(["throttled"])
    );
    assert_eq!(operations["GetImage"]["held"], serde_json::json!([]));
    assert_eq!(gateway.calls(), 2);
}

/// The window of a rate below one a second is longer than any test: the second call of it must wait too long.
#[tokio::test]
async fn a_denial_from_memory_is_refused_where_a_miss_would_be() {
    let guarded = Guarded::start(|setup| {
        setup.pace_as_set();
        setup.set("upstream.calls_per_second.get_image", "0.01");
        setup.set("freshness.forbidden", "60s");
        setup.set("freshness.not_found", "60s");
    })
    .await;
    let team = Signer::team();
    // One call: the image is another team's.
    let hidden = guarded.get(&team, &path(&Store::id(2))).await;
    assert_eq!(hidden.status, 404);
    let again = guarded.get(&team, &path(&Store::id(2))).await;
    let missing = guarded.get(&team, &path("no-such-image")).await;
    for refused in [again, missing] {
        let (status, code) = (refused.status.as_u16(), refused.error_code());
        assert_eq!((status, &*code), (429, "Throttling"));
    }
    assert_eq!(guarded.gateway.calls(), 1);
}
