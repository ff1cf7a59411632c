//! Permissions of an authenticated client: the same for every outcome.

use std::time::Duration;

use http::Method;
use pai_image_gateway::emulator::Store;

use crate::support::signed::{Guarded, Signer};
use crate::support::{eventually, path};

/// PUBLIC in workspace 15945, one of `team`'s.
fn ours() -> String {
    path(&Store::id(1))
}

/// PUBLIC in workspace 20817, not one of `team`'s.
fn theirs() -> String {
    path(&Store::id(2))
}

#[tokio::test]
async fn the_policy_is_the_contracts_table() {
    let guarded = Guarded::usual().await;
    let statuses = async |signer: &Signer| {
        let mut seen = Vec::new();
        for index in 0..4 {
            let answer = guarded.get(signer, &path(&Store::id(index))).await;
            seen.push(answer.status.as_u16());
        }
        seen
    };
    // Official; PUBLIC 15945; PUBLIC 20817; PRIVATE 15945.
    assert_eq!(statuses(&Signer::chief()).await, [200, 200, 200, 200]);
    assert_eq!(statuses(&Signer::team()).await, [404, 200, 404, 404]);
}

#[tokio::test]
async fn only_if_cached_reveals_no_hidden_image() {
    let guarded = Guarded::usual().await;
    let (chief, team) = (Signer::chief(), Signer::team());
    assert_eq!(guarded.get(&chief, &theirs()).await.status, 200);
    assert_eq!(guarded.get(&team, &path("image-none")).await.status, 404);
    let only = [("cache-control", "only-if-cached")];
    let ask = async |signer, target: &str| {
        let answer = guarded.ask(signer, (Method::GET, target, ""), &only).await;
        (answer.status.as_u16(), answer.error_code())
    };
    let not_cached = (504, "Gateway.NotCached".to_owned());
    assert_eq!(ask(&chief, &theirs()).await.0, 200);
    assert_eq!(ask(&team, &theirs()).await, not_cached);
    assert_eq!(ask(&team, &path("image-none")).await, not_cached);
    assert_eq!(ask(&team, &path("image-other")).await, not_cached);
}

#[tokio::test]
async fn an_operation_without_its_permission_is_forbidden() {
    let guarded = Guarded::usual().await;
    let frugal = Signer::frugal();
    for (method, target) in [
        (Method::GET, "/api/v1/images".to_owned()),
        (
            Method::GET,
            "/api/v1/image/labels?WorkspaceId=15945".to_owned(),
        ),
        (Method::DELETE, ours()),
    ] {
        let answer = guarded.ask(&frugal, (method, &target, ""), &[]).await;
        assert_eq!(answer.status.as_u16(), 403, "{target}");
        assert_eq!(answer.error_code(), "Gateway.Forbidden");
    }
    assert_eq!(guarded.gateway.calls(), 0);
    // Nor is its Cache-Control heeded.
    assert_eq!(guarded.get(&frugal, &ours()).await.status, 200);
    let forced = [("cache-control", "no-cache")];
    let request = (Method::GET, ours());
    tokio::time::sleep(Duration::from_millis(1100)).await;
    let answer = guarded
        .ask(&frugal, (request.0, &request.1, ""), &forced)
        .await;
    assert!(answer.cache_status().contains("hit; ttl="), "{answer:?}");
}

#[tokio::test]
async fn a_write_needs_an_image_that_the_client_may_see() {
    let guarded = Guarded::usual().await;
    let team = Signer::team();
    let labels = |image: &str| format!("{image}/labels");
    let body = r#"{"Labels":[{"Key":"a","Value":"b"}]}"#;
    let missing = guarded
        .ask(
            &team,
            (Method::POST, &labels(&path("image-none")), body),
            &[],
        )
        .await;
    let hidden = guarded
        .ask(&team, (Method::POST, &labels(&theirs()), body), &[])
        .await;
    assert_eq!(hidden.shape(), missing.shape());
    let removed = guarded
        .ask(&team, (Method::DELETE, &theirs(), ""), &[])
        .await;
    assert_eq!(removed.shape(), missing.shape());
    let done = guarded
        .ask(&team, (Method::POST, &labels(&ours()), body), &[])
        .await;
    assert_eq!(done.status, 200, "{done:?}");
    let counts = guarded.gateway.emulator.counts().operations;
    assert_eq!(counts.get("RemoveImage"), None);
    assert_eq!(counts.get("AddImageLabels"), Some(&1));
}

#[tokio::test]
async fn an_image_is_added_to_a_workspace_of_the_client_only() {
    let guarded = Guarded::usual().await;
    let team = Signer::team();
    let add = async |body: &str| {
        let request = (Method::POST, "/api/v1/images", body);
        let answer = guarded.ask(&team, request, &[]).await;
        (answer.status.as_u16(), answer.error_code())
    };
    let forbidden = (403, "Gateway.Forbidden".to_owned());
    let uri = r#""ImageUri":"registry.example/a:1","Name":"added""#;
    assert_eq!(add(&format!("{{{uri}}}")).await, forbidden);
    assert_eq!(
        add(&format!(r#"{{"WorkspaceId":"20817",{uri}}}"#)).await,
        forbidden
    );
    let twice = format!(r#"{{"WorkspaceId":"15945","WorkspaceId":"20817",{uri}}}"#);
    assert_eq!(add(&twice).await, forbidden);
    let taken = format!(
        r#"{{"WorkspaceId":"15945","ImageId":"{}",{uri}}}"#,
        Store::id(2)
    );
    assert_eq!(add(&taken).await.0, 404);
    assert_eq!(add("[]").await.0, 400);
    assert_eq!(
        add(&format!(r#"{{"WorkspaceId":"15945",{uri}}}"#)).await.0,
        200
    );
}

#[tokio::test]
async fn a_search_is_authorized_by_the_clients_permissions_alone() {
    let guarded = Guarded::usual().await;
    let (chief, team) = (Signer::chief(), Signer::team());
    let list = async |signer: &Signer, query: &str| {
        guarded
            .get(signer, &format!("/api/v1/images?{query}"))
            .await
    };
    let all = list(&chief, "WorkspaceId=15945&PageSize=10&PageNumber=2").await;
    assert_eq!(all.status, 200);
    let listed = all.found();
    let lists = listed.as_object().unwrap().values();
    assert_eq!(lists.filter(|field| field.is_array()).count(), 1);
    for (query, status) in [
        ("", 403),
        ("WorkspaceId=20817", 403),
        ("WorkspaceId=15945&Accessibility=PRIVATE", 403),
        ("Labels=system.official%3Dtrue", 403),
        ("WorkspaceId=15945&WorkspaceId=15945", 400),
        (
            "WorkspaceId=15945&Accessibility=PUBLIC&Accessibility=PRIVATE",
            400,
        ),
        ("WorkspaceId=15945&accessibility=PUBLIC", 400),
        ("WorkspaceId=15945&PageSize=2", 200),
        ("WorkspaceId=15945&PageSize=1000", 200),
        ("WorkspaceId=15945&RegionId=cn-hangzhou", 200),
    ] {
        let answer = list(&team, query).await;
        assert_eq!(answer.status.as_u16(), status, "{query}");
    }
    // Hidden images are neither shown nor counted on any page.
    let asked = list(
        &team,
        "WorkspaceId=15945&Accessibility=PUBLIC&PageSize=1000",
    )
    .await;
    let public = asked.found();
    let images = public["Images"].as_array().unwrap();
    assert!(!images.is_empty());
    assert!(
        images
            .iter()
            .all(|image| image["Accessibility"] == "PUBLIC")
    );
    for query in [
        "WorkspaceId=15945&PageSize=2&PageNumber=3",
        "WorkspaceId=15945&PageNumber=99",
    ] {
        let page = list(&team, query).await.found();
        assert_eq!(page["TotalCount"], images.len(), "{query}");
    }
}

#[tokio::test]
async fn labels_of_an_image_are_shown_to_clients_that_may_see_it() {
    let guarded = Guarded::usual().await;
    let team = Signer::team();
    let labels = async |query: &str| {
        let answer = guarded
            .get(&team, &format!("/api/v1/image/labels?{query}"))
            .await;
        answer.status.as_u16()
    };
    assert_eq!(labels(&format!("ImageId={}", Store::id(1))).await, 200);
    assert_eq!(labels(&format!("ImageId={}", Store::id(2))).await, 404);
    assert_eq!(
        labels(&format!("ImageId={0}&ImageId={0}", Store::id(1))).await,
        400
    );
    // PRIVATE images of its workspace have labels too.
    assert_eq!(labels("WorkspaceId=15945").await, 403);
    assert_eq!(labels("WorkspaceId=20817").await, 403);
    assert_eq!(labels("").await, 403);
}

#[tokio::test]
async fn made_up_ids_cost_no_more_than_their_clients_budget_and_evict_nothing() {
    let guarded = Guarded::usual().await;
    let (chief, frugal) = (Signer::chief(), Signer::frugal());
    assert_eq!(guarded.get(&chief, &ours()).await.status, 200);
    let before = (guarded.gateway.calls(), std::time::Instant::now());
    let mut throttled = 0;
    for number in 0..300 {
        let answer = guarded
            .get(&frugal, &path(&format!("image-{number}")))
            .await;
        if answer.status == 429 {
            assert_eq!(answer.error_code(), "Throttling");
            let wait: u64 = answer.header("x-acs-retry-after").parse().unwrap();
            assert!((1..=1000).contains(&wait), "{wait}");
            throttled += 1;
        }
    }
    // One miss a second, and one more that had been saved up.
    let allowed = before.1.elapsed().as_secs() + 2;
    assert!(guarded.gateway.calls() - before.0 <= allowed);
    assert!(throttled >= 300 - allowed);
    // A cached image costs nothing.
    let hit = guarded.get(&frugal, &ours()).await;
    assert!(hit.cache_status().contains("hit; ttl="), "{hit:?}");
}

#[tokio::test]
async fn every_denial_is_in_the_audit_and_no_secret_is() {
    let guarded = Guarded::usual().await;
    assert_eq!(guarded.get(&Signer::chief(), &theirs()).await.status, 200);
    assert_eq!(guarded.get(&Signer::team(), &theirs()).await.status, 404);
    let file = guarded.folder.path().join("audit");
    let lines = || std::fs::read_to_string(&file).unwrap_or_default();
    eventually("both are written", async || lines().lines().count() == 2).await;
    let lines: Vec<serde_json::Value> = lines()
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let fields = |line: &serde_json::Value| {
        ["client", "outcome", "decision", "image_id"]
            .map(|name| line[name].as_str().unwrap().to_owned())
    };
    assert_eq!(fields(&lines[0]), ["chief", "miss", "shown", &Store::id(2)]);
    assert_eq!(
        fields(&lines[1]),
        ["team", "denied", "denied", &Store::id(2)]
    );
    for line in &lines {
        let timestamp: jiff::Timestamp = line["timestamp"].as_str().unwrap().parse().unwrap();
        assert!(timestamp <= jiff::Timestamp::now(), "{line}");
        let peer: std::net::SocketAddr = line["peer"].as_str().unwrap().parse().unwrap();
        assert!(peer.ip().is_loopback(), "{line}");
        assert!(line["request_id"].is_string(), "{line}");
    }
    assert!(lines[0]["origin_request_id"].is_string());
    assert!(lines[1]["origin_request_id"].is_null());
}
