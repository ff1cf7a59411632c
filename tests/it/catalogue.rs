//! The catalogue: pages of ListImages that renew images and answer for them.

use http::Method;
use pai_image_gateway::api::Action;
use pai_image_gateway::emulator::{Fault, FaultKind, Store};
use serde_json::{Value, json};

use crate::support::signed::{Guarded, Signer};
use crate::support::{Answer, Setup, TestGateway, ask, eventually, path, refusal, sample, times};

/// Ids of the emulator's images by their index: official; PUBLIC and PRIVATE of workspace 15945.
const OFFICIAL: usize = 40;
const PUBLIC: usize = 41;
const PRIVATE: usize = 43;
/// A PUBLIC image of a workspace that is not walked.
const ELSEWHERE: usize = 42;

/// Walks workspace 15945 and the official images, in walks that follow each other closely.
fn walked(setup: &mut Setup) {
    setup.set("catalogue.workspaces", "15945");
    setup.set("catalogue.official", "true");
    setup.set("catalogue.interval", "100ms");
}

async fn catalogue(gateway: &TestGateway) -> Value {
    gateway.page("/status").await["catalogue"].clone()
}

/// Waits until every scope was walked, and items answer.
async fn until_answering(gateway: &TestGateway) {
    const LAST_WALK: &str = "pai_gateway_catalogue_last_walk_timestamp_seconds{";
    eventually("items answer", async || {
        let exposition = gateway.exposition().await;
        let mut walks = exposition
            .lines()
            .filter(|line| line.starts_with(LAST_WALK));
        walks.all(|walk| !walk.ends_with(" 0"))
            && sample(&exposition, "pai_gateway_catalogue_answering", &[]) > 0.0
    })
    .await;
}

async fn answering() -> TestGateway {
    let gateway = TestGateway::start(walked).await;
    until_answering(&gateway).await;
    gateway
}

fn is_from_catalogue(answer: &Answer) -> bool {
    let status = answer.cache_status();
    status.starts_with("pai-image-gateway; hit; ttl=") && status.ends_with("; detail=catalogue")
}

/// Returns an image's answer from its item, after a purge if GetImage has answered: it may just have been compared.
async fn from_catalogue(gateway: &TestGateway, id: &str) -> Answer {
    loop {
        let answer = gateway.image(id).await;
        if is_from_catalogue(&answer) {
            return answer;
        }
        gateway.purge(&format!(r#"{{"image":"{id}"}}"#)).await;
        walk_again(gateway).await;
    }
}

/// Waits until every page has been read again.
async fn walk_again(gateway: &TestGateway) {
    let walks = async || {
        gateway
            .metric("pai_gateway_catalogue_walks_total", &[])
            .await
    };
    let before = walks().await;
    // One of them is under way, and there are four: two scopes, each with either Verbose.
    eventually("pages are read again", async || {
        walks().await >= before + 5.0
    })
    .await;
}

#[tokio::test]
async fn an_image_that_nobody_asked_for_is_a_hit_with_the_members_of_its_item() {
    let gateway = answering().await;
    for index in [OFFICIAL, PUBLIC, PRIVATE] {
        let id = Store::id(index);
        let answer = from_catalogue(&gateway, &id).await;
        let body = answer.found();
        let own = gateway.emulator.store().get(&id).unwrap();
        assert_eq!(
            (&body["ImageId"], &body["Name"]),
            (&json!(id), &json!(own.name))
        );
        // The page's RequestId first, then the members in their order.
        let text = answer.text();
        assert!(text.starts_with(r#"{"RequestId":""#), "{text}");
        assert_eq!(
            answer.header("x-acs-request-id"),
            body["RequestId"].as_str().unwrap()
        );
        let place = |name: &str| text.find(&format!("\"{name}\":")).unwrap();
        assert!(place("GmtCreateTime") < place("Name") && place("Name") < place("ImageId"));
        assert!(body["Labels"].is_null());
    }
    let elsewhere = gateway.image(&Store::id(ELSEWHERE)).await;
    assert_eq!(
        elsewhere.cache_status(),
        "pai-image-gateway; fwd=uri-miss; stored"
    );
    assert!(gateway.outcomes("hit").await >= 3.0);
    assert!(catalogue(&gateway).await["answered"].as_u64() >= Some(3));
}

#[tokio::test]
async fn labels_are_walked_once_a_client_asks_for_them() {
    let gateway = answering().await;
    let verbose = |index| format!("{}?Verbose=true", path(&Store::id(index)));
    gateway.get(&verbose(PUBLIC)).await.found();
    eventually("items with labels answer", async || {
        catalogue(&gateway).await["answering"][1] == true
    })
    .await;
    let listed = (0..25).map(|index| verbose(4 * index));
    let mut from_items = 0;
    for target in listed {
        let answer = gateway.get(&target).await;
        assert_eq!(answer.found()["Labels"][0]["Key"], "system.official");
        from_items += u32::from(is_from_catalogue(&answer));
    }
    // The others have been compared.
    assert!(from_items > 12, "{from_items}");
}

#[tokio::test]
async fn pages_renew_an_image_and_bring_its_changes_without_a_fetch() {
    let gateway = TestGateway::start(|setup| {
        walked(setup);
        // So that nothing but a page could refresh it.
        setup.set("freshness.min", "15m");
    })
    .await;
    let id = Store::id(PUBLIC);
    gateway.image(&id).await.found();
    until_answering(&gateway).await;
    eventually("pages renew it", async || {
        catalogue(&gateway).await["renewed"].as_u64() > Some(10)
    })
    .await;
    assert_eq!(gateway.image(&id).await.header("age"), "0");
    gateway.emulator.store().touch(&id).unwrap();
    let changed = gateway.emulator.store().get(&id).unwrap().description;
    eventually("a page brings the change", async || {
        gateway.image(&id).await.found()["Description"] == changed.as_str()
    })
    .await;
    assert!(catalogue(&gateway).await["changed"].as_u64() >= Some(1));
    let explained = gateway.page(&format!("/entries/{id}")).await;
    let variant = &explained["variants"][0];
    assert_eq!(
        (&variant["state"], variant["catalogue"].is_string()),
        (&json!("fresh"), true),
        "{variant}"
    );
}

#[tokio::test]
async fn an_image_that_is_gone_from_the_list_is_denied_by_getimage_alone() {
    let gateway = answering().await;
    let id = Store::id(PUBLIC);
    from_catalogue(&gateway, &id).await;
    let before = gateway.emulator.fetches(&id);
    gateway.emulator.store().remove(&id);
    eventually("GetImage is asked", async || {
        gateway.emulator.fetches(&id) > before
    })
    .await;
    eventually("the image is missing", async || {
        gateway.image(&id).await.status == 404
    })
    .await;
}

#[tokio::test]
async fn a_list_that_differs_from_getimage_answers_for_no_image() {
    let gateway = answering().await;
    // `increase` does not see the sample with which a series begins.
    for field in ["Name", "image", "other", "unreadable"] {
        let series = format!("pai_gateway_catalogue_mismatches_total{{field=\"{field}\"}} 0\n");
        assert!(gateway.exposition().await.contains(&series), "{field}");
    }
    // Differences in three images, which have just been compared.
    let images = [1, 5, 9].map(Store::id);
    for id in &images {
        let other = json!({ "Name": "other" }).as_object().unwrap().clone();
        gateway.emulator.store().list_otherwise(id, other);
    }
    let own: Vec<_> = images
        .iter()
        .map(|id| gateway.emulator.store().get(id).unwrap().name)
        .collect();
    eventually("each difference is found", async || {
        for id in &images {
            let answer = gateway.image_with(id, "no-cache").await;
            assert!(answer.found()["Name"].is_string());
        }
        catalogue(&gateway).await["mismatches"].as_u64() >= Some(3)
    })
    .await;
    let labels = [("field", "Name")];
    let mismatches = gateway.metric("pai_gateway_catalogue_mismatches_total", &labels);
    assert!(mismatches.await >= 3.0);
    assert_eq!(
        catalogue(&gateway).await["answering"],
        json!([false, false])
    );
    for (id, own) in images.iter().zip(own) {
        assert_eq!(gateway.image(id).await.found()["Name"], own.as_str());
    }
    let fresh = gateway.image(&Store::id(OFFICIAL)).await;
    assert!(!is_from_catalogue(&fresh));
}

#[tokio::test]
async fn a_workspace_that_may_not_be_listed_is_off_and_the_others_go_on() {
    let gateway = TestGateway::start(|setup| {
        walked(setup);
        let denied = Fault {
            operation: Some(Action::ListImages),
            ..times(1, refusal(403, "NoPermission"))
        };
        setup.origin.faults = vec![denied];
    })
    .await;
    eventually("the other scope is walked", async || {
        let catalogue = catalogue(&gateway).await;
        catalogue["scopes"][0]["paused"] == "denied"
            && !catalogue["scopes"][1]["last_walk"].is_null()
    })
    .await;
    let before = catalogue(&gateway).await["pages"].as_u64();
    eventually("walks go on", async || {
        catalogue(&gateway).await["pages"].as_u64() > before
    })
    .await;
    let catalogue = catalogue(&gateway).await;
    assert!(catalogue["scopes"][0]["last_walk"].is_null());
    assert_eq!(
        gateway
            .metric("pai_gateway_catalogue_walks_total", &[("result", "error")])
            .await,
        1.0
    );
}

#[tokio::test]
async fn a_page_that_is_no_page_fails_its_walk_and_harms_nothing() {
    let gateway = answering().await;
    let id = Store::id(PUBLIC);
    from_catalogue(&gateway, &id).await;
    for kind in [
        FaultKind::NotObject,
        FaultKind::WrongType,
        FaultKind::Empty,
        FaultKind::Truncated,
    ] {
        let failed = || async {
            gateway
                .metric("pai_gateway_catalogue_walks_total", &[("result", "error")])
                .await
        };
        let before = failed().await;
        gateway.emulator.script(vec![Fault {
            operation: Some(Action::ListImages),
            ..Fault::always(kind.clone())
        }]);
        eventually("a walk fails", async || failed().await > before).await;
        assert_eq!(gateway.image(&id).await.status, 200, "{kind:?}");
    }
    gateway.emulator.script(Vec::new());
    let pages = catalogue(&gateway).await["pages"].as_u64();
    eventually("walks go on", async || {
        catalogue(&gateway).await["pages"].as_u64() > pages
    })
    .await;
}

#[tokio::test]
async fn a_write_and_a_purge_drop_the_item() {
    let gateway = TestGateway::start(|setup| {
        walked(setup);
        setup.set("api.writes", "true");
        setup.set("catalogue.interval", "1h");
    })
    .await;
    until_answering(&gateway).await;
    let (written, purged) = (Store::id(PUBLIC), Store::id(PUBLIC + 4));
    assert!(is_from_catalogue(
        &gateway.image(&Store::id(PUBLIC + 8)).await
    ));
    let target = format!("{}/labels", path(&written));
    let labels = r#"{"Labels":[{"Key":"a","Value":"1"}]}"#;
    let write = gateway.request(Method::POST, &target, &[], labels).await;
    assert_eq!(write.status, 200, "{write:?}");
    gateway.purge(&format!(r#"{{"image":"{purged}"}}"#)).await;
    for id in [&written, &purged] {
        let answer = gateway.image(id).await;
        assert_eq!(
            answer.cache_status(),
            "pai-image-gateway; fwd=uri-miss; stored",
            "{id}"
        );
    }
}

#[tokio::test]
async fn a_hidden_image_is_denied_from_its_item_without_a_fetch() {
    let guarded = Guarded::start(|setup| {
        walked(setup);
        setup.set("catalogue.interval", "1h");
    })
    .await;
    until_answering(&guarded.gateway).await;
    let (team, hidden) = (Signer::team(), Store::id(PRIVATE));
    // It may have been compared.
    let before = guarded.gateway.emulator.fetches(&hidden);
    let denied = guarded.get(&team, &path(&hidden)).await;
    let missing = guarded.get(&team, &path("image-none")).await;
    assert_eq!(
        (denied.status.as_u16(), missing.status.as_u16()),
        (404, 404)
    );
    assert_eq!(denied.cache_status(), missing.cache_status());
    let seen = guarded.get(&team, &path(&Store::id(PUBLIC))).await;
    assert!(seen.cache_status().contains("; hit; "), "{seen:?}");
    assert_eq!(guarded.gateway.emulator.fetches(&hidden), before);
}

#[tokio::test]
async fn the_catalogue_resolves_uris_of_a_client_whose_images_it_all_has() {
    let guarded = Guarded::start(|setup| {
        walked(setup);
        setup.set("catalogue.interval", "1h");
    })
    .await;
    until_answering(&guarded.gateway).await;
    let store = guarded.gateway.emulator.store();
    let [public, private, elsewhere] =
        [PUBLIC, PRIVATE, ELSEWHERE].map(|index| store.get(&Store::id(index)).unwrap().image_uri);
    let body = json!({ "ImageUris": [public, private, elsewhere] }).to_string();
    let lists = || guarded.gateway.emulator.counts().operations["ListImages"];
    let before = lists();
    let request = (Method::POST, "/gateway/v1/resolve", body.as_str());
    let document = guarded
        .ask(&Signer::scheduler(), request.clone(), &[])
        .await
        .found();
    let results = document["Results"].as_array().unwrap();
    assert_eq!(
        results
            .iter()
            .map(|result| &result["Status"])
            .collect::<Vec<_>>(),
        ["found", "missing", "missing"]
    );
    assert_eq!(results[0]["ImageId"], Store::id(PUBLIC));
    assert_eq!(lists(), before);
    // A client that sees every workspace may see images that are not in it.
    let document = guarded.ask(&Signer::chief(), request, &[]).await.found();
    let results = document["Results"].as_array().unwrap();
    assert!(results.iter().all(|result| result["Status"] == "found"));
    assert_eq!(lists(), before + 3);
    // After a purge no item is left, and that is no reason to say that there is no image.
    let headers = [
        ("authorization", "Bearer admin-token"),
        ("content-type", "application/json"),
    ];
    let admin = &guarded.gateway.app.admin;
    let purged = ask(admin, Method::POST, "/purge", &headers, r#"{"all":true}"#).await;
    assert_eq!(purged.status, 200, "{purged:?}");
    let request = (Method::POST, "/gateway/v1/resolve", body.as_str());
    let document = guarded.ask(&Signer::scheduler(), request, &[]).await;
    assert_eq!(document.found()["Results"][0]["ImageId"], Store::id(PUBLIC));
}

#[tokio::test]
async fn two_hundred_images_at_once_cost_the_walks_pages() {
    let gateway = TestGateway::start(|setup| {
        setup.pace_as_set();
        setup.origin.images = 400;
        setup.origin.quota_per_second = Some(50);
        setup.set("catalogue.workspaces", "15945");
    })
    .await;
    until_answering(&gateway).await;
    let before = gateway.calls();
    let images = (0..400).filter(|index| index % 2 == 1).map(Store::id);
    let answers = images.map(|id| {
        let gateway = &gateway;
        async move { gateway.image(&id).await }
    });
    let answers = futures_util::future::join_all(answers).await;
    assert_eq!(answers.len(), 200);
    assert!(answers.iter().all(|answer| answer.status == 200));
    assert!(gateway.calls() - before <= 10);
    assert_eq!(gateway.emulator.counts().codes.get("Throttling.User"), None);
}

#[tokio::test]
async fn a_gateway_without_a_catalogue_lists_nothing() {
    let gateway = TestGateway::usual().await;
    assert_eq!(catalogue(&gateway).await, Value::Null);
    assert!(!gateway.exposition().await.contains("pai_gateway_catalogue"));
    assert_eq!(gateway.calls(), 0);
}
