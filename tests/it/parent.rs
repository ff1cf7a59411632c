//! A gateway with another as its upstream: no cloud key here, and a correct age on every response.

mod authorized;
mod errors;
mod family;
mod headers;
mod loops;
mod refresh;
mod stand_in;

use std::time::Duration;

use futures_util::future::join_all;
use http::Method;
use pai_image_gateway::emulator::{Fault, FaultKind, Store};

use crate::coalescing::{crowd, requests};
use crate::support::{ONE_CROWD, eventually, path, refusal, run, times};
use family::{Family, NARROW, PLAIN, credentials};

const MISS: &str = "pai-image-gateway; fwd=uri-miss; stored";

/// Returns the remaining seconds that a hit reports.
fn left(cache_status: &str) -> i64 {
    let (_, rest) = cache_status
        .split_once("pai-image-gateway; hit; ttl=")
        .unwrap();
    rest.split([';', ',']).next().unwrap().parse().unwrap()
}

fn age(answer: &crate::support::Answer) -> u64 {
    answer.header("age").parse().unwrap()
}

#[tokio::test]
async fn a_miss_goes_through_both_and_comes_back_as_the_origin_sent_it() {
    let (family, id) = (Family::usual().await, Store::id(1));
    let odd = r#"{ "Size":9007199254740993, "New":null,"WorkspaceId":"1", "Accessibility":"PUBLIC","RequestId":"R-1" }"#;
    family.parent.gateway.emulator.store().put_raw(&id, odd);
    let child = family.child(PLAIN).await;
    let miss = child.image(&id).await;
    assert_eq!((miss.status.as_u16(), miss.text()), (200, odd.to_owned()));
    assert_eq!(miss.cache_status(), MISS);
    let through = family
        .parent
        .get(&crate::support::signed::Signer::chief(), &path(&id))
        .await;
    let origins = through.header("x-acs-request-id");
    assert!(!origins.is_empty());
    assert_eq!(miss.header("x-acs-request-id"), origins);
    let hit = child.image(&id).await;
    assert_eq!(hit.text(), odd);
    assert_eq!(hit.header("x-acs-request-id"), origins);
    assert_eq!((family.fetches(&id), child.calls()), (1, 0));
    assert_eq!(family.asked().await, 2.0);
    assert_eq!(child.outcomes("hit").await, 1.0);
}

#[tokio::test]
async fn an_entry_from_the_parent_keeps_its_age_and_is_fresh_for_no_longer() {
    let (family, id) = (Family::usual().await, Store::id(1));
    family.child(PLAIN).await.image(&id).await.found();
    family.aged(&id).await;
    let child = family.child(PLAIN).await;
    let first = child.image(&id).await;
    let (parents, ours) = first.cache_status().rsplit_once(", ").unwrap();
    assert_eq!(ours, MISS);
    assert!(age(&first) >= 1, "{first:?}");
    let hit = child.image(&id).await;
    assert!(age(&hit) >= age(&first), "{hit:?}");
    assert!(left(hit.cache_status()) <= left(parents), "{hit:?}");
    let direct = family
        .parent
        .get(&crate::support::signed::Signer::chief(), &path(&id))
        .await;
    assert!(age(&child.image(&id).await) >= age(&direct));
    let page = child.page(&format!("/entries/{id}")).await;
    let explanation = page["variants"][0]["explanation"].as_str().unwrap();
    assert!(
        explanation.starts_with("A parent gateway had held it for"),
        "{explanation}"
    );
    assert_eq!(family.fetches(&id), 1);
}

#[tokio::test]
async fn an_image_hidden_from_the_childs_key_does_not_exist_at_the_child() {
    let family = Family::usual().await;
    let child = family.child(NARROW).await;
    let hidden = r#"{"Accessibility":"PUBLIC","WorkspaceId":"999"}"#;
    family
        .parent
        .gateway
        .emulator
        .store()
        .put_raw("image-hidden", hidden);
    for id in ["image-hidden", "image-none"] {
        let first = child.image(id).await;
        assert_eq!(first.error(), (404, "ImageNotFound".to_owned()));
        let again = child.image(id).await;
        assert_eq!(again.error(), (404, "ImageNotFound".to_owned()));
        assert!(again.cache_status().ends_with("detail=not-found"));
    }
    assert_eq!(family.asked().await, 2.0);
    child.image(&Store::id(1)).await.found();
}

#[tokio::test]
async fn a_list_and_its_errors_come_through_both() {
    let family = Family::usual().await;
    let target = "/api/v1/images?WorkspaceId=15945&PageSize=2";
    let chief = crate::support::signed::Signer::chief();
    let direct = family.parent.get(&chief, target).await;
    let child = family.child(PLAIN).await;
    let through = child.get(target).await;
    assert_eq!(through.found()["Images"], direct.found()["Images"]);
    let parents = format!(
        "pai-image-gateway; hit; ttl={}",
        left(through.cache_status())
    );
    assert_eq!(through.cache_status(), format!("{parents}, {MISS}"));
    assert_eq!(child.get(target).await.body, through.body);
    let counts = family.parent.gateway.emulator.counts();
    assert_eq!(counts.operations["ListImages"], 1);
    let narrow = family.child(NARROW).await;
    let refused = narrow.get("/api/v1/images").await;
    assert_eq!(
        (refused.status.as_u16(), refused.error_code()),
        (403, "Gateway.Forbidden".to_owned())
    );
    assert!(refused.text().contains("WorkspaceId"), "{refused:?}");
}

#[tokio::test]
async fn a_write_through_a_child_shows_there_and_at_the_parent_and_at_a_sibling_by_its_ttl() {
    let (family, id) = (Family::usual().await, Store::id(3));
    let writing = |setup: &mut crate::support::Setup| setup.set("api.writes", "true");
    let child = family.child_with(PLAIN, writing).await;
    let sibling = family.child(PLAIN).await;
    for gateway in [&child, &sibling] {
        assert_eq!(gateway.image(&id).await.found()["Accessibility"], "PRIVATE");
    }
    let target = format!("{}/publish", path(&id));
    let written = child.request(Method::PUT, &target, &[], "").await;
    assert_eq!(written.status, 200, "{written:?}");
    assert_eq!(child.image(&id).await.found()["Accessibility"], "PUBLIC");
    // One of them authorized the write, at the parent.
    assert_eq!(family.fetches(&id), 3);
    assert_eq!(sibling.image(&id).await.found()["Accessibility"], "PRIVATE");
    sibling.purge(&format!(r#"{{"image":"{id}"}}"#)).await;
    assert_eq!(sibling.image(&id).await.found()["Accessibility"], "PUBLIC");
    let refused = sibling.request(Method::PUT, &target, &[], "").await;
    assert_eq!(refused.error(), (403, "Gateway.Forbidden".to_owned()));
}

#[tokio::test]
async fn a_stale_answer_of_the_parent_comes_with_its_age_and_why_and_is_asked_for_again() {
    let (family, id) = (Family::usual().await, Store::id(1));
    let child = family.child(PLAIN).await;
    child.image(&id).await.found();
    family.aged(&id).await;
    family.soften(&id).await;
    let failing = Fault::always(refusal(503, "ServiceUnavailable"));
    family.parent.gateway.emulator.script(vec![failing]);
    let other = family.child(PLAIN).await;
    let stale = other.image(&id).await;
    stale.found();
    let (parents, ours) = stale.cache_status().rsplit_once(", ").unwrap();
    assert!(parents.ends_with("; detail=origin-error"), "{parents}");
    assert_eq!(ours, MISS);
    assert!(age(&stale) >= 1);
    let asked = family.asked().await;
    let again = other.image(&id).await;
    assert!(
        again
            .cache_status()
            .starts_with("pai-image-gateway; hit; ttl="),
        "{again:?}"
    );
    assert_eq!(family.asked().await, asked);
    family.parent.gateway.emulator.script(Vec::new());
    eventually("it is fetched again, and newer", async || {
        age(&other.image(&id).await) == 0
    })
    .await;
}

#[tokio::test]
async fn a_cached_image_is_served_while_the_parent_is_unreachable() {
    let (family, id) = (Family::usual().await, Store::id(1));
    let child = family.child(PLAIN).await;
    child.image(&id).await.found();
    child.soften(&id).await;
    family.parent.gateway.stop().await;
    let stale = child.image(&id).await;
    stale.found();
    assert!(
        stale.cache_status().ends_with("; detail=origin-error"),
        "{stale:?}"
    );
    let unknown = child.image(&Store::id(2)).await;
    assert_eq!(
        unknown.error(),
        (503, "Gateway.UpstreamUnavailable".to_owned())
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_first_requests_of_four_children_cost_one_call() {
    let _alone = ONE_CROWD.lock().await;
    let patience = |setup: &mut crate::support::Setup| setup.set("api.wait", "20s");
    let slow = vec![times(1, FaultKind::Latency(Duration::from_millis(500)))];
    let family = Family::start(|setup| {
        patience(setup);
        setup.origin.faults = slow;
    })
    .await;
    let mut children = Vec::new();
    for _ in 0..4 {
        children.push(family.child_with(PLAIN, patience).await);
    }
    let id = Store::id(1);
    let requests = requests(&id, 10);
    let crowds = children
        .iter()
        .map(|child| crowd(&child.app.data, 25, requests.clone()));
    for received in join_all(crowds).await.concat() {
        assert_eq!(received.matches("HTTP/1.1 200 OK\r\n").count(), 10);
    }
    assert_eq!(family.fetches(&id), 1);
    assert_eq!(family.asked().await, children.len() as f64);
}

#[tokio::test]
async fn check_calls_the_parent() {
    let (family, id) = (Family::usual().await, Store::id(1));
    let settings = [
        "upstream.kind=gateway".to_owned(),
        format!(
            "upstream.endpoint=http://{}",
            family.parent.gateway.app.data
        ),
        "upstream.allow_http=true".to_owned(),
        "credentials.source=env".to_owned(),
    ];
    let mut arguments = vec!["check", "--call", &id];
    arguments.extend(settings.iter().flat_map(|setting| ["--set", setting]));
    let checked = run(&credentials(PLAIN), &arguments).await;
    assert_eq!(checked.code, 0, "{}", checked.stdout);
    assert!(
        checked.stdout.contains("the parent gateway is 127.0.0.1:"),
        "{}",
        checked.stdout
    );
    assert!(
        checked.stdout.contains("the parent gateway answered for"),
        "{}",
        checked.stdout
    );
    let checked = run(&credentials(("GWSIDECAR", "wrong")), &arguments).await;
    assert_eq!(checked.code, 2);
    assert!(
        checked.stdout.contains("SignatureDoesNotMatch"),
        "{}",
        checked.stdout
    );
}
