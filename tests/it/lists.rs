//! Lists: one call for identical lists, pages from memory, and each client's own view of them.

use std::time::Duration;

use futures_util::future::join_all;
use http::Method;
use pai_image_gateway::api::Action;
use pai_image_gateway::emulator::{Fault, FaultKind, Store};

use crate::support::signed::{Guarded, Signer};
use crate::support::{Answer, TestGateway, eventually, path, refusal, throttle, times};

const LIST: &str = "/api/v1/images?WorkspaceId=15945&PageSize=2";
const LABELS: &str = "/api/v1/image/labels?WorkspaceId=15945";
const MISS: &str = "pai-image-gateway; fwd=uri-miss; stored";

/// Returns the number of calls of this operation that the origin received.
fn calls(gateway: &TestGateway, operation: Action) -> u64 {
    let counts = gateway.emulator.counts();
    counts
        .operations
        .get(operation.as_str())
        .copied()
        .unwrap_or(0)
}

async fn outcomes(gateway: &TestGateway, outcome: &str) -> f64 {
    let labels = [("operation", "ListImages"), ("outcome", outcome)];
    gateway.metric("pai_gateway_requests_total", &labels).await
}

async fn list_with(gateway: &TestGateway, cache_control: &str) -> Answer {
    let headers = [("cache-control", cache_control)];
    gateway.request(Method::GET, LIST, &headers, "").await
}

fn lists_fail(kind: FaultKind) -> Fault {
    Fault {
        operation: Some(Action::ListImages),
        ..Fault::always(kind)
    }
}

/// A gateway whose lists are stale at once, and serve only while the origin fails.
async fn stale_at_once() -> TestGateway {
    let gateway = TestGateway::start(|setup| {
        setup.set("lists.ttl", "1ms");
        setup.set("lists.stale_while_revalidate", "0s");
    })
    .await;
    gateway.get(LIST).await.found();
    tokio::time::sleep(Duration::from_millis(5)).await;
    gateway
}

#[tokio::test]
async fn lists_are_signed_and_the_second_is_answered_from_memory() {
    let gateway = TestGateway::usual().await;
    for target in [LIST, LABELS] {
        let before = gateway.calls();
        let miss = gateway.get(target).await;
        assert!(miss.found()["TotalCount"].is_u64());
        assert_eq!((miss.cache_status(), miss.header("age")), (MISS, "0"));
        assert_eq!(miss.header("x-acs-request-id").len(), 36);
        let hit = gateway.get(target).await;
        assert_eq!(hit.body, miss.body);
        let status = hit.cache_status();
        assert!(
            status.starts_with("pai-image-gateway; hit; ttl=1"),
            "{status}"
        );
        assert_eq!(
            hit.header("x-acs-request-id"),
            miss.header("x-acs-request-id")
        );
        assert_eq!(gateway.calls(), before + 1);
    }
    assert_eq!(outcomes(&gateway, "miss").await, 1.0);
    assert_eq!(outcomes(&gateway, "hit").await, 1.0);
    // The hit ratio is GetImage's.
    assert!(gateway.page("/status").await["hit_ratio"].is_null());
    assert!(gateway.emulator.counts().rejected.is_empty());
}

#[tokio::test]
async fn the_query_as_sent_upstream_tells_lists_apart() {
    let gateway = TestGateway::usual().await;
    for same in [
        LIST,
        "/api/v1/images?PageSize=2&WorkspaceId=15945",
        "/api/v1/images?PageSize=%32&WorkspaceId=15945&RegionId=cn-hangzhou",
    ] {
        gateway.get(same).await.found();
    }
    assert_eq!(gateway.calls(), 1);
    for other in [
        "/api/v1/images?WorkspaceId=15945&PageSize=2&PageNumber=2",
        "/api/v1/images?WorkspaceId=15945&PageSize=2&Verbose=true",
        "/api/v1/images?WorkspaceId=20817&PageSize=2",
    ] {
        let before = gateway.calls();
        gateway.get(other).await.found();
        assert_eq!(gateway.calls(), before + 1, "{other}");
    }
}

#[tokio::test]
async fn a_hundred_identical_lists_at_once_cost_one_call() {
    for ttl in ["15s", "0s"] {
        let gateway = TestGateway::start(|setup| {
            setup.set("lists.ttl", ttl);
            setup.set("api.wait", "60s");
            let slow = FaultKind::Latency(Duration::from_secs(1));
            setup.origin.faults = vec![times(1, slow)];
        })
        .await;
        let answers = join_all((0..100).map(|_| gateway.get(LIST))).await;
        for answer in &answers {
            answer.found();
            assert_eq!(answer.body, answers[0].body);
        }
        assert_eq!(gateway.calls(), 1, "{ttl}");
        assert_eq!(outcomes(&gateway, "miss").await, 1.0);
        assert!(outcomes(&gateway, "coalesced").await > 0.0);
    }
}

#[tokio::test]
async fn a_ttl_of_zero_keeps_nothing() {
    let gateway = TestGateway::with("lists.ttl", "0s").await;
    for call in 1..=2 {
        let answer = gateway.get(LIST).await;
        answer.found();
        assert_eq!(answer.cache_status(), "pai-image-gateway; fwd=bypass");
        assert_eq!(gateway.calls(), call);
    }
    gateway
        .emulator
        .script(vec![lists_fail(refusal(503, "ServiceUnavailable"))]);
    assert_eq!(gateway.get(LIST).await.status, 503);
}

#[tokio::test]
async fn clients_share_a_page_and_each_is_authorized_by_itself() {
    let guarded = Guarded::usual().await;
    let (chief, team) = (Signer::chief(), Signer::team());
    let gateway = &guarded.gateway;
    let public = "/api/v1/images?WorkspaceId=15945&Accessibility=PUBLIC";
    let first = guarded.get(&chief, public).await;
    // The team's search gets Accessibility=PUBLIC added, which makes it the same query.
    let second = guarded.get(&team, "/api/v1/images?WorkspaceId=15945").await;
    assert_eq!(first.body, second.body);
    assert!(second.cache_status().contains("; hit; ttl="), "{second:?}");
    assert_eq!(calls(gateway, Action::ListImages), 1);
    // The chief's own page of all images is another one.
    let all = guarded
        .get(&chief, "/api/v1/images?WorkspaceId=15945")
        .await;
    assert!(all.found()["TotalCount"].as_u64() > first.found()["TotalCount"].as_u64());
    assert_eq!(calls(gateway, Action::ListImages), 2);
    // The chief's cached page opens nothing to the team.
    for held in ["/api/v1/images?WorkspaceId=20817", LABELS] {
        guarded.get(&chief, held).await.found();
        let refused = guarded.get(&team, held).await;
        assert_eq!(refused.status, 403, "{held}");
        assert_eq!(refused.cache_status(), "", "{held}");
    }
}

#[tokio::test]
async fn labels_in_memory_are_shown_only_to_clients_that_may_see_their_image() {
    let guarded = Guarded::usual().await;
    let (chief, team) = (Signer::chief(), Signer::team());
    // PUBLIC in workspace 20817, which the team does not hold.
    let hidden = format!("/api/v1/image/labels?ImageId={}", Store::id(2));
    guarded.get(&chief, &hidden).await.found();
    let hit = guarded.get(&chief, &hidden).await;
    assert!(hit.cache_status().contains("; hit; ttl="), "{hit:?}");
    let missing = "/api/v1/image/labels?ImageId=image-none";
    let (denied, missing) = (
        guarded.get(&team, &hidden).await,
        guarded.get(&team, missing).await,
    );
    assert_eq!(
        (denied.status.as_u16(), denied.shape()),
        (404, missing.shape())
    );
}

#[tokio::test]
async fn a_write_and_a_purge_drop_every_list() {
    let gateway = TestGateway::with("api.writes", "true").await;
    let publish = format!("{}/publish", path(&Store::id(3)));
    for (method, target, body) in [
        (Method::PUT, publish.as_str(), ""),
        (
            Method::POST,
            "/api/v1/images",
            r#"{"Name":"new","ImageUri":"r/x:1","WorkspaceId":"15945"}"#,
        ),
    ] {
        let before = gateway.get(LIST).await.found();
        gateway.request(method, target, &[], body).await.found();
        let after = gateway.get(LIST).await;
        assert_eq!(after.cache_status(), MISS, "{target}");
        assert!(before["TotalCount"].as_u64() <= after.found()["TotalCount"].as_u64());
    }
    for purge in [
        r#"{"image":"image-none"}"#,
        r#"{"workspace":"1"}"#,
        r#"{"all":true}"#,
    ] {
        gateway.purge(purge).await;
        assert_eq!(gateway.get(LIST).await.cache_status(), MISS, "{purge}");
    }
}

/// The image's id is in no answer, and in no request: only the lists are known to be outdated.
#[tokio::test]
async fn an_addition_of_unknown_result_drops_every_list() {
    let gateway = TestGateway::with("api.writes", "true").await;
    let before = gateway.get(LIST).await.found()["TotalCount"].as_u64();
    gateway.emulator.script(vec![Fault {
        operation: Some(Action::AddImage),
        ..Fault::always(FaultKind::CloseMidBody)
    }]);
    let body = r#"{"Name":"new","ImageUri":"r/x:1","WorkspaceId":"15945"}"#;
    let added = gateway
        .request(Method::POST, "/api/v1/images", &[], body)
        .await;
    assert_eq!(added.error().0, 503);
    let after = gateway.get(LIST).await;
    assert_eq!(
        after.found()["TotalCount"].as_u64(),
        before.map(|count| count + 1)
    );
}

#[tokio::test]
async fn a_list_that_was_on_its_way_during_a_write_is_not_kept() {
    let gateway = TestGateway::with("api.writes", "true").await;
    let slow = Fault {
        operation: Some(Action::ListImages),
        ..times(1, FaultKind::Latency(Duration::from_millis(500)))
    };
    gateway.emulator.script(vec![slow]);
    let target = format!("{}/publish", path(&Store::id(3)));
    let write = async {
        eventually("the list is asked for", async || {
            calls(&gateway, Action::ListImages) == 1
        })
        .await;
        gateway.request(Method::PUT, &target, &[], "").await.found();
    };
    let (old, ()) = tokio::join!(gateway.get(LIST), write);
    old.found();
    assert_eq!(gateway.get(LIST).await.cache_status(), MISS);
    assert_eq!(calls(&gateway, Action::ListImages), 2);
}

#[tokio::test]
async fn a_soft_purge_leaves_lists_for_an_outage() {
    let gateway = TestGateway::usual().await;
    let held = gateway.get(LIST).await;
    gateway.purge(r#"{"all":true,"soft":true}"#).await;
    gateway
        .emulator
        .script(vec![lists_fail(refusal(503, "ServiceUnavailable"))]);
    let stale = gateway.get(LIST).await;
    assert_eq!(stale.body, held.body);
    assert!(stale.cache_status().ends_with("; detail=origin-error"));
    gateway.emulator.script(vec![]);
    eventually("the breaker closes", async || {
        gateway.get(LIST).await.cache_status() == MISS
    })
    .await;
}

#[tokio::test]
async fn a_list_that_fails_or_is_throttled_is_answered_stale() {
    for kind in [
        refusal(503, "ServiceUnavailable"),
        throttle(Some(Duration::from_secs(5))),
        FaultKind::CloseBefore,
        FaultKind::NotObject,
    ] {
        let gateway = stale_at_once().await;
        gateway.emulator.script(vec![lists_fail(kind)]);
        // The second answer comes while the origin is not asked.
        for _ in 0..2 {
            let stale = gateway.get(LIST).await;
            stale.found();
            let how = stale.cache_status();
            assert!(how.starts_with("pai-image-gateway; hit; ttl=-"), "{how}");
            assert!(how.ends_with("; detail=origin-error"), "{how}");
        }
        assert_eq!(outcomes(&gateway, "stale").await, 2.0);
        let other = gateway.get("/api/v1/images?PageSize=3").await;
        assert_ne!(other.error().0, 200);
    }
}

#[tokio::test]
async fn a_client_over_its_miss_limit_gets_the_list_in_memory() {
    let guarded = Guarded::start(|setup| {
        setup.set("lists.ttl", "1ms");
        setup.set("lists.stale_while_revalidate", "0s");
    })
    .await;
    let clients = guarded.folder.path().join("clients.toml");
    let lister = r#"
[[client]]
name = "lister"
access_key_id = "GWLISTER"
access_key_secret_file = "team.secret"
permissions = ["list"]
workspaces = ["15945"]
users = ["*"]
misses_per_second = 1
"#;
    let others = std::fs::read_to_string(&clients).unwrap();
    std::fs::write(&clients, format!("{others}{lister}")).unwrap();
    let lister = Signer::new("GWLISTER", "team-secret");
    eventually("the client is known", async || {
        guarded.get(&lister, LIST).await.status == 200
    })
    .await;
    eventually("it is over its limit", async || {
        let answer = guarded.get(&lister, LIST).await;
        answer.found();
        answer.cache_status().ends_with("; detail=over-budget")
    })
    .await;
    let mut size = 2;
    eventually("a list that is not held is refused", async || {
        size += 1;
        let other = format!("/api/v1/images?WorkspaceId=15945&PageSize={size}");
        guarded.get(&lister, &other).await.error_code() == "Throttling"
    })
    .await;
}

#[tokio::test]
async fn no_stale_list_is_served_after_a_denial() {
    let gateway = stale_at_once().await;
    gateway
        .emulator
        .script(vec![lists_fail(refusal(403, "NoPermission"))]);
    assert_eq!(gateway.page("/entries").await["held"], 1);
    for _ in 0..2 {
        assert_eq!(gateway.get(LIST).await.error().0, 403);
    }
    assert_eq!(gateway.page("/entries").await["held"], 0);
}

#[tokio::test]
async fn a_slow_origin_is_awaited_for_a_while_where_a_stale_list_is_held() {
    let gateway = TestGateway::start(|setup| {
        setup.set("lists.ttl", "1ms");
        setup.set("lists.stale_while_revalidate", "0s");
        setup.set("api.wait_with_stale", "50ms");
        setup.set("api.wait", "200ms");
    })
    .await;
    gateway.get(LIST).await.found();
    gateway
        .emulator
        .script(vec![lists_fail(FaultKind::Stall(Duration::from_secs(60)))]);
    tokio::time::sleep(Duration::from_millis(5)).await;
    let stale = gateway.get(LIST).await;
    assert!(stale.cache_status().ends_with("; detail=origin-error"));
    let other = gateway.get("/api/v1/images?PageSize=3").await;
    assert_eq!(other.error(), (504, "Gateway.UpstreamTimeout".to_owned()));
}

#[tokio::test]
async fn a_stale_list_is_served_while_it_is_fetched_again() {
    let gateway = TestGateway::with("lists.ttl", "1ms").await;
    gateway.get(LIST).await.found();
    eventually("it is fetched again", async || {
        let answer = gateway.get(LIST).await;
        answer.found();
        let how = answer.cache_status();
        assert!(
            how.contains("; detail=revalidating") || how.contains("; hit; ttl=0"),
            "{how}"
        );
        gateway.calls() >= 2
    })
    .await;
}

#[tokio::test]
async fn a_client_asks_for_a_newer_list_at_most_once_a_second() {
    let gateway = TestGateway::usual().await;
    assert_eq!(
        list_with(&gateway, "only-if-cached").await.error(),
        (504, "Gateway.NotCached".to_owned())
    );
    assert_eq!(gateway.calls(), 0);
    gateway.get(LIST).await.found();
    list_with(&gateway, "only-if-cached").await.found();
    assert_eq!(gateway.calls(), 1);
    eventually("it is forced", async || {
        let answer = list_with(&gateway, "no-cache").await;
        answer.found();
        let forced = answer.cache_status() == "pai-image-gateway; fwd=request; stored";
        assert_eq!(gateway.calls(), 1 + u64::from(forced));
        forced
    })
    .await;
    assert_eq!(outcomes(&gateway, "refresh").await, 1.0);
}

#[tokio::test]
async fn lists_in_memory_are_shown_to_the_operator() {
    let gateway = TestGateway::usual().await;
    gateway.get(LIST).await.found();
    gateway.get(LABELS).await.found();
    let page = gateway.page("/entries").await;
    assert_eq!(page["held"], 2);
    let shown: Vec<_> = (0..2)
        .map(|index| {
            let list = &page["lists"][index];
            (list["operation"].clone(), list["query"].clone())
        })
        .collect();
    assert_eq!(
        shown,
        [
            ("ListImageLabels".into(), "WorkspaceId=15945".into()),
            ("ListImages".into(), "PageSize=2&WorkspaceId=15945".into()),
        ]
    );
    assert_eq!(page["lists"][0]["state"], "fresh");
    assert_eq!(page["lists"][0]["ttl_seconds"], 15);
    let status = gateway.page("/status").await;
    assert_eq!(status["lists"]["pages"], 2);
    assert_eq!(status["lists"]["max_bytes"], 32 << 20);
    let entries = [("store", "lists")];
    let gauge = gateway.metric("pai_gateway_cache_entries", &entries).await;
    assert_eq!(gauge, 2.0);
    gateway.purge(r#"{"all":true,"soft":true}"#).await;
    let soft = gateway.page("/entries").await;
    assert_eq!(soft["lists"][1]["state"], "stale");
}
