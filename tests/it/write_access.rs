//! Authorization of writes: by the origin's current image, and only for requests without ambiguity.

use http::Method;
use pai_image_gateway::emulator::{Accessibility, Image, Store};

use crate::support::signed::{Guarded, Signer};
use crate::support::{Answer, TestGateway, path};

const LABELS: &str = r#"{"Labels":[{"Key":"a","Value":"b"}]}"#;

/// PUBLIC in workspace 15945, one of `team`'s.
fn ours() -> String {
    Store::id(1)
}

async fn write(guarded: &Guarded, method: Method, target: &str, body: &str) -> Answer {
    let request = (method, target, body);
    guarded.ask(&Signer::team(), request, &[]).await
}

/// Writes to an existing image.
fn writes(id: &str) -> [(Method, String, &'static str); 4] {
    let image = path(id);
    [
        (Method::POST, format!("{image}/labels"), LABELS),
        (Method::DELETE, format!("{image}/labels/system.origin"), ""),
        (Method::PUT, format!("{image}/publish"), ""),
        (Method::DELETE, image, ""),
    ]
}

fn set(guarded: &Guarded, id: &str, accessibility: Accessibility) {
    let store = guarded.gateway.emulator.store();
    let image = store.get(id).unwrap();
    store.put(Image {
        accessibility,
        ..image
    });
}

fn error(answer: &Answer) -> (u16, String) {
    (answer.status.as_u16(), answer.error_code())
}

/// Requests that reached the origin, but GetImage.
fn written(guarded: &Guarded) -> u64 {
    let operations = guarded.gateway.emulator.counts().operations;
    let others = operations.iter().filter(|(name, _)| **name != "GetImage");
    others.map(|(_, count)| *count).sum()
}

#[tokio::test]
async fn a_cached_copy_authorizes_no_write() {
    let (guarded, id) = (Guarded::usual().await, ours());
    let read = guarded.get(&Signer::team(), &path(&id)).await;
    assert_eq!(read.found()["Accessibility"], "PUBLIC");
    set(&guarded, &id, Accessibility::Private);
    let missing = write(&guarded, Method::DELETE, &path("image-none"), "").await;
    for (method, target, body) in writes(&id) {
        let denied = write(&guarded, method, &target, body).await;
        assert_eq!(denied.shape(), missing.shape(), "{target}");
    }
    assert_eq!(written(&guarded), 0);
    // The copy is still served, within its ttl.
    assert_eq!(guarded.get(&Signer::team(), &path(&id)).await.status, 200);
}

#[tokio::test]
async fn a_write_succeeds_for_an_image_that_was_missing_a_moment_ago() {
    let (guarded, id) = (Guarded::usual().await, ours());
    let image = guarded.gateway.emulator.store().get(&id).unwrap();
    guarded.gateway.emulator.store().remove(&id);
    assert_eq!(guarded.get(&Signer::team(), &path(&id)).await.status, 404);
    guarded.gateway.emulator.store().put(image);
    let target = format!("{}/labels", path(&id));
    let done = write(&guarded, Method::POST, &target, LABELS).await;
    assert_eq!(done.status, 200, "{done:?}");
}

#[tokio::test]
async fn each_write_asks_for_the_image_itself() {
    let (guarded, id) = (Guarded::usual().await, ours());
    let target = format!("{}/labels", path(&id));
    let (one, other) = tokio::join!(
        write(&guarded, Method::POST, &target, LABELS),
        write(&guarded, Method::POST, &target, LABELS)
    );
    assert_eq!((one.status.as_u16(), other.status.as_u16()), (200, 200));
    assert_eq!(guarded.gateway.emulator.fetches(&id), 2);
}

#[tokio::test]
async fn an_ambiguous_key_or_parameter_is_rejected() {
    let guarded = Guarded::usual().await;
    let (image, hidden) = (path(&ours()), Store::id(2));
    let malformed = (400, "InvalidParameter".to_owned());
    let add = r#"{"WorkspaceId":"15945","Name":"n","ImageUri":"r/x:1""#;
    for key in [
        "workspaceid",
        "imageid",
        "ACCESSIBILITY",
        "work_space_id",
        "userId",
    ] {
        let body = format!(r#"{add},"{key}":"20817"}}"#);
        let answer = write(&guarded, Method::POST, "/api/v1/images", &body).await;
        assert_eq!(error(&answer), malformed, "{key}");
    }
    let beside = format!(r#"{{"Labels":[],"ImageId":"{hidden}"}}"#);
    let answer = write(&guarded, Method::POST, &format!("{image}/labels"), &beside).await;
    assert_eq!(error(&answer), malformed);
    for (method, target, body) in writes(&ours()) {
        for query in [
            "imageid=x",
            "ImageId=x",
            "WorkspaceId=20817",
            "Verbose=true",
        ] {
            let target = format!("{target}?{query}");
            let answer = write(&guarded, method.clone(), &target, body).await;
            assert_eq!(error(&answer), malformed, "{target}");
        }
    }
    assert_eq!(guarded.gateway.calls(), 0);
}

#[tokio::test]
async fn a_label_key_that_a_proxy_could_read_as_a_path_is_rejected() {
    let gateway = TestGateway::with("api.writes", "true").await;
    let remove = async |key: &str| {
        let line = format!("DELETE {}/labels/{key} HTTP/1.1", path(&ours()));
        let request = format!("{line}\r\nHost: g\r\nConnection: close\r\n\r\n");
        String::from_utf8(gateway.raw(request.as_bytes()).await).unwrap()
    };
    for key in [
        "",
        ".",
        "..",
        "%2e",
        "%2E%2e",
        ".%2E",
        "a,..",
        "%2E%2E%2F",
        "..%2F..%2Fimage-2",
        "x%2f..%2f..%2f..%2fimage-2",
        "..%5C..%5Cimage-2",
        "..%3B",
        "..;x",
    ] {
        let answer = remove(key).await;
        assert!(answer.starts_with("HTTP/1.1 400 "), "{key}: {answer}");
        assert!(answer.contains(r#""Code":"InvalidParameter""#), "{key}");
    }
    assert_eq!(gateway.calls(), 0);
    for key in ["..%2Fx", "...", ".hidden", "%252E%252E", "a%2Fb"] {
        let answer = remove(key).await;
        assert!(answer.starts_with("HTTP/1.1 200 "), "{key}: {answer}");
    }
}

#[tokio::test]
async fn a_query_that_is_too_long_is_rejected_without_a_call() {
    let guarded = Guarded::usual().await;
    let target = format!("/api/v1/images?WorkspaceId=15945&Name={}", "*".repeat(3500));
    let answer = guarded.get(&Signer::team(), &target).await;
    assert_eq!(error(&answer), (400, "InvalidParameter".to_owned()));
    assert_eq!(guarded.gateway.calls(), 0);
}
