//! The status page's files, and its data from `/status`. `tests/page` opens it in a browser.

use http::Method;
use pai_image_gateway::emulator::Store;
use serde_json::{Value, json};

use crate::support::{TestGateway, ask, denial, path, times};

const HTML: &str = "text/html; charset=utf-8";
const CSS: &str = "text/css; charset=utf-8";
const SCRIPT: &str = "text/javascript; charset=utf-8";

const FILES: [(&str, &str); 16] = [
    ("/", HTML),
    ("/page.css", CSS),
    ("/ask.js", SCRIPT),
    ("/banner.js", SCRIPT),
    ("/cards.js", SCRIPT),
    ("/chart.js", SCRIPT),
    ("/dom.js", SCRIPT),
    ("/facts.js", SCRIPT),
    ("/history.js", SCRIPT),
    ("/image.js", SCRIPT),
    ("/lists.js", SCRIPT),
    ("/page.js", SCRIPT),
    ("/purge.js", SCRIPT),
    ("/tables.js", SCRIPT),
    ("/units.js", SCRIPT),
    ("/words.js", SCRIPT),
];

#[tokio::test]
async fn the_pages_files_come_with_strict_headers() {
    let gateway = TestGateway::usual().await;
    for (path, content_type) in FILES {
        let answer = gateway.admin(Method::GET, path, "").await;
        assert_eq!(answer.status, 200, "{path}");
        for (name, value) in [
            ("content-type", content_type),
            (
                "content-security-policy",
                "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; \
                 img-src 'self' data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
            ),
            ("x-content-type-options", "nosniff"),
            ("referrer-policy", "no-referrer"),
            ("cache-control", "no-store"),
        ] {
            assert_eq!(answer.header(name), value, "{path}");
        }
        let refused = gateway.admin(Method::DELETE, path, "").await;
        assert_eq!(
            (refused.status.as_u16(), refused.header("allow")),
            (405, "GET, HEAD"),
            "{path}"
        );
    }
}

#[tokio::test]
async fn the_pages_files_load_nothing_from_elsewhere_and_have_no_inline_code() {
    let gateway = TestGateway::usual().await;
    for (path, _) in FILES {
        let text = gateway.admin(Method::GET, path, "").await.text();
        // The name of an XML namespace, which nobody asks for.
        let text = text.replace("http://www.w3.org/2000/svg", "");
        for foreign in [
            "http:", "https:", "\"//", "'//", "url(", "@import", "import(",
        ] {
            assert!(!text.contains(foreign), "{path} has {foreign}");
        }
        for inline in [
            "<style",
            " style=",
            " onclick=",
            "innerHTML",
            "eval(",
            "document.write",
        ] {
            assert!(!text.contains(inline), "{path} has {inline}");
        }
    }
    let index = gateway.admin(Method::GET, "/", "").await.text();
    assert!(index.contains(r#"<meta name="admin-token" content="none">"#));
    assert_eq!(index.matches("<script").count(), 1);
}

#[tokio::test]
async fn the_page_loads_without_the_token_that_its_data_needs() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("token");
    std::fs::write(&file, "token-of-tests").unwrap();
    let gateway = TestGateway::with("admin.token_file", file.to_str().unwrap()).await;
    for (path, _) in FILES {
        let answer = gateway.admin(Method::GET, path, "").await;
        assert_eq!(answer.status, 200, "{path}");
        assert!(!answer.everything().contains("token-of-tests"), "{path}");
    }
    let index = gateway.admin(Method::GET, "/", "").await.text();
    assert!(index.contains(r#"<meta name="admin-token" content="needed">"#));
    assert_eq!(gateway.admin(Method::GET, "/status", "").await.status, 401);
}

#[tokio::test]
async fn a_page_of_another_site_may_not_even_load_it() {
    let gateway = TestGateway::usual().await;
    for header in [("origin", "http://evil.example"), ("host", "evil.example")] {
        for (path, _) in FILES {
            let answer = ask(&gateway.app.admin, Method::GET, path, &[header], "").await;
            assert_eq!(answer.status, 403, "{path} {header:?}");
        }
    }
}

#[tokio::test]
async fn status_ranks_the_most_requested_images() {
    let gateway = TestGateway::usual().await;
    let status = gateway.page("/status").await;
    assert_eq!(status["top_images"], json!([]));
    assert_eq!(
        status["top_images_estimate"],
        json!({ "half_life_seconds": 60, "one_in": 1 })
    );
    for n in 1..=25 {
        for _ in 0..=(n % 5) {
            gateway.image(&Store::id(n)).await;
        }
    }
    gateway.get("/api/v1/images/..").await;
    let status = gateway.page("/status").await;
    let top = status["top_images"].as_array().unwrap();
    assert_eq!(top.len(), 20);
    let requests = |place: &Value| place["requests"].as_u64().unwrap();
    assert!(
        top.is_sorted_by(|a, b| requests(a) >= requests(b)),
        "{top:?}"
    );
    let most = [4, 9, 14, 19, 24].map(Store::id);
    for place in &top[..5] {
        assert!(most.iter().any(|id| place["ImageId"] == **id), "{place}");
        assert!(requests(place) >= 4, "{place}");
    }
}

#[tokio::test]
async fn status_lists_the_origins_latest_errors_with_image_and_message() {
    let gateway = TestGateway::usual().await;
    assert_eq!(gateway.page("/status").await["recent_errors"], json!([]));
    gateway.image("image-none").await;
    gateway.emulator.script(vec![times(1, denial())]);
    gateway.image(&Store::id(1)).await;
    let status = gateway.page("/status").await;
    let errors = status["recent_errors"].as_array().unwrap();
    let [error] = errors.as_slice() else {
        panic!("{errors:?}")
    };
    let mut names: Vec<_> = error.as_object().unwrap().keys().collect();
    names.sort();
    assert_eq!(
        names,
        [
            "code",
            "image_id",
            "message",
            "operation",
            "request_id",
            "result",
            "time"
        ]
    );
    assert_eq!(
        [&error["operation"], &error["result"], &error["code"]],
        ["GetImage", "forbidden", "Forbidden"]
    );
    assert_eq!(error["image_id"], Store::id(1));
    assert!(!error["message"].as_str().unwrap().is_empty());
    assert!(error["time"].as_str().unwrap().ends_with('Z'));
    assert!(!error["request_id"].as_str().unwrap().is_empty());
}

#[tokio::test]
async fn status_reports_quota_and_connections() {
    let gateway = TestGateway::start(|setup| setup.origin.quota_per_second = Some(100)).await;
    let quota = |status: &Value| status["upstream"]["operations"]["GetImage"]["quota"].clone();
    assert!(quota(&gateway.page("/status").await)["user_api"].is_null());
    let mut connection = gateway.connect().await;
    connection
        .send(Method::GET, &path(&Store::id(1)), &[], "")
        .await;
    let status = gateway.page("/status").await;
    assert_eq!(quota(&status)["user_api"], 99, "{status}");
    assert_eq!(status["connections"], 1);
}
