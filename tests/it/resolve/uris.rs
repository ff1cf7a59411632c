//! Images by their URI.

use http::Method;
use pai_image_gateway::api::Action;
use pai_image_gateway::emulator::{Fault, Store};
use serde_json::{Value, json};

use super::{RESOLVE, each, post, script};
use crate::support::signed::{Guarded, Signer};
use crate::support::{TestGateway, refusal, run_with};

/// Returns the URI of a generated image.
fn uri(gateway: &TestGateway, index: usize) -> String {
    let image = gateway.emulator.store().get(&Store::id(index));
    image.unwrap().image_uri
}

/// Adds a copy of an image under another id, created so many hours later.
fn copy(gateway: &TestGateway, index: usize, id: &str, hours: i64) {
    let store = gateway.emulator.store();
    let mut image = store.get(&Store::id(index)).unwrap();
    image.image_id = id.to_owned();
    image.gmt_create_time += jiff::SignedDuration::from_hours(hours);
    store.put(image);
}

async fn results(gateway: &TestGateway, body: &Value) -> Vec<Value> {
    let document = post(gateway, &body.to_string()).await.found();
    document["Results"].as_array().unwrap().clone()
}

fn lists(gateway: &TestGateway) -> u64 {
    let counts = gateway.emulator.counts();
    let action = Action::ListImages.as_str();
    counts.operations.get(action).copied().unwrap_or(0)
}

#[tokio::test]
async fn ids_come_first_and_a_uri_has_its_newest_image() {
    let gateway = TestGateway::usual().await;
    copy(&gateway, 5, "image-old", -1);
    copy(&gateway, 5, "image-new", 1);
    let (known, id) = (uri(&gateway, 5), Store::id(1));
    let body = json!({ "ImageUris": [known, "r.example/none:1", known], "ImageIds": [id] });
    let found = results(&gateway, &body).await;
    assert_eq!(each(&found, "Status"), ["found", "found", "missing"]);
    assert_eq!(each(&found, "ImageId"), [id.as_str(), "image-new", ""]);
    assert_eq!(each(&found, "ImageUri"), ["", &known, "r.example/none:1"]);
    let middle = Store::id(5);
    assert_eq!(
        found[1]["ImageIds"],
        json!(["image-new", middle, "image-old"])
    );
    assert_eq!(
        (&found[2]["ImageIds"], &found[2]["ImageId"]),
        (&json!([]), &Value::Null)
    );
    assert_eq!(found[2]["Code"], "ImageNotFound");
    // The members that the list has of it.
    let list = gateway.get("/api/v1/images?PageSize=500").await.found();
    let items = list["Images"].as_array().unwrap();
    let newest = items.iter().find(|item| item["ImageId"] == "image-new");
    assert_eq!(found[1]["Image"], *newest.unwrap());
    assert!(found[1]["Image"]["Labels"].is_null());
}

#[tokio::test]
async fn a_search_is_asked_once_and_its_uri_is_compared_exactly() {
    let gateway = TestGateway::usual().await;
    let known = uri(&gateway, 6);
    let body = json!({ "ImageUris": [known] });
    for _ in 0..3 {
        let found = results(&gateway, &body).await;
        assert_eq!(each(&found, "ImageId"), [Store::id(6)]);
    }
    assert_eq!(lists(&gateway), 1);
    let shorter = json!({ "ImageUris": [known.trim_end_matches(char::is_numeric)] });
    assert_eq!(
        each(&results(&gateway, &shorter).await, "Status"),
        ["missing"]
    );
    let verbose = json!({ "ImageUris": [known], "Verbose": true });
    let found = results(&gateway, &verbose).await;
    assert!(found[0]["Image"]["Labels"].is_array());
    assert_eq!(lists(&gateway), 3);
}

#[tokio::test]
async fn every_page_of_a_search_counts() {
    let gateway = TestGateway::usual().await;
    for number in 0..119 {
        copy(&gateway, 6, &format!("image-copy-{number:03}"), number);
    }
    let body = json!({ "ImageUris": [uri(&gateway, 6)] });
    let found = results(&gateway, &body).await;
    assert_eq!(found[0]["ImageId"], "image-copy-118");
    assert_eq!(found[0]["ImageIds"].as_array().unwrap().len(), 120);
    assert_eq!(lists(&gateway), 3);
}

#[tokio::test]
async fn a_hidden_image_is_missing_by_its_uri_like_one_that_does_not_exist() {
    let guarded = Guarded::usual().await;
    let (chief, scheduler) = (Signer::chief(), Signer::scheduler());
    // By index: the scheduler's own, another workspace's, PRIVATE.
    let uris = [1, 2, 3].map(|index| uri(&guarded.gateway, index));
    // A newer image of another workspace carries the URI of the scheduler's own.
    let store = guarded.gateway.emulator.store();
    let mut newer = store.get(&Store::id(2)).unwrap();
    newer.image_id = "image-newer".to_owned();
    newer.image_uri.clone_from(&uris[0]);
    store.put(newer);
    let body = json!({ "ImageUris": [uris[0], uris[1], uris[2], "r.example/none:1"] });
    let ask = async |signer: &Signer| {
        let text = body.to_string();
        let request = (Method::POST, RESOLVE, text.as_str());
        let document = guarded.ask(signer, request, &[]).await.found();
        document["Results"].as_array().unwrap().clone()
    };
    let all = ask(&chief).await;
    assert_eq!(each(&all, "Status"), ["found", "found", "found", "missing"]);
    let own = ask(&scheduler).await;
    let statuses = ["found", "missing", "missing", "missing"];
    assert_eq!(each(&own, "Status"), statuses);
    assert_eq!(own[0]["ImageIds"], json!([Store::id(1)]));
    let missing = own[3].to_string().replace("r.example/none:1", "URI");
    for hidden in [1, 2] {
        assert_eq!(
            own[hidden].to_string().replace(&uris[hidden], "URI"),
            missing
        );
    }
    // Both clients share the four searches.
    assert_eq!(lists(&guarded.gateway), 4);
}

#[tokio::test]
async fn a_uri_that_shows_nothing_costs_a_miss_token_from_memory_too() {
    let guarded = Guarded::start(|setup| {
        setup.set("resolve.deadline", "900ms");
    })
    .await;
    let (chief, frugal) = (Signer::chief(), Signer::frugal());
    let uris: Vec<String> = (0..8)
        .map(|number| format!("r.example/none:{number}"))
        .collect();
    let body = json!({ "ImageUris": uris }).to_string();
    let ask = async |signer: &Signer| {
        let request = (Method::POST, RESOLVE, body.as_str());
        let document = guarded.ask(signer, request, &[]).await.found();
        document["Results"].as_array().unwrap().clone()
    };
    assert_eq!(each(&ask(&chief).await, "Status"), ["missing"; 8]);
    assert_eq!(lists(&guarded.gateway), 8);
    // One miss a second, and one more that had been saved up.
    let found = ask(&frugal).await;
    let limited = found.iter().filter(|result| result["Code"] == "Throttling");
    assert!((5..=7).contains(&limited.count()), "{found:?}");
    assert_eq!(lists(&guarded.gateway), 8);
}

#[tokio::test]
async fn a_search_that_fails_is_one_failed_result() {
    let gateway = TestGateway::usual().await;
    script(
        &gateway.emulator,
        [Fault {
            operation: Some(Action::ListImages),
            ..Fault::always(refusal(500, "InternalError"))
        }],
    );
    let body = json!({ "ImageUris": [uri(&gateway, 5)], "ImageIds": [Store::id(5)] });
    let found = results(&gateway, &body).await;
    assert_eq!(each(&found, "Status"), ["found", "failed"]);
    assert_eq!(found[1]["Code"], "Gateway.UpstreamUnavailable");
    assert_eq!(found[1]["ImageId"], Value::Null);
}

#[tokio::test]
async fn the_command_takes_ids_and_uris_mixed() {
    let gateway = TestGateway::usual().await;
    let known = uri(&gateway, 5);
    let input = format!("{known} # a URI\n{}\nr.example/none:1\n", Store::id(1));
    let address = gateway.app.data.to_string();
    let arguments = ["resolve", "-", "--address", &address];
    let done = run_with(&[].into(), &arguments, &input).await;
    assert_eq!((done.code, done.stderr.as_str()), (1, ""));
    let lines: Vec<&str> = done.stdout.lines().collect();
    assert!(
        lines[0].starts_with("missing r.example/none:1  ImageNotFound: "),
        "{lines:?}"
    );
    assert_eq!(lines[1..], ["2 found, 1 missing, 0 failed"]);
}
