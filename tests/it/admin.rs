//! Access to the admin listener, and its responses.

use http::Method;
use pai_image_gateway::emulator::Store;
use serde_json::{Value, json};

use crate::support::{KEY_ID, KEY_SECRET, TestGateway, address, ask, path};

#[tokio::test]
async fn status_has_its_shape_before_the_first_request() {
    let gateway = TestGateway::usual().await;
    let status = gateway.page("/status").await;
    assert_eq!(status["version"], env!("CARGO_PKG_VERSION"));
    assert!(status["uptime_seconds"].is_u64());
    assert_eq!(status["ready"], true);
    assert_eq!(status["hit_ratio"], Value::Null);
    assert_eq!(status["shared_cache"], Value::Null);
    assert_eq!(status["latency_seconds"], json!({}));
    let names = |value: &Value| -> Vec<String> {
        let mut names: Vec<_> = value.as_object().unwrap().keys().cloned().collect();
        names.sort();
        names
    };
    assert_eq!(
        names(&status["requests"]),
        [
            "coalesced",
            "denied",
            "error",
            "hit",
            "miss",
            "negative",
            "passthrough",
            "refresh",
            "rejected",
            "stale"
        ]
    );
    assert_eq!(
        names(&status["upstream"]["requests"]),
        [
            "client_error",
            "credential",
            "forbidden",
            "not_found",
            "ok",
            "server_error",
            "throttled",
            "timeout",
            "transport"
        ]
    );
    assert_eq!(
        names(&status["upstream"]),
        ["breaker", "in_flight", "operations", "requests"]
    );
    assert_eq!(
        names(&status["cache"]),
        ["bytes", "entries", "max_bytes", "negative_entries"]
    );
    assert_eq!(names(&status["lists"]), ["bytes", "max_bytes", "pages"]);
    assert_eq!(
        names(&status["credential"]),
        ["access_key_id", "expires_at", "last_error", "source"]
    );
    assert_eq!(status["credential"]["source"], "env");
    assert_eq!(status["credential"]["access_key_id"], "LTAI****ests");
    assert_eq!(status["listen"]["listen"], gateway.app.data.to_string());
    assert_eq!(status["listen"]["admin"], gateway.app.admin.to_string());
}

#[tokio::test]
async fn status_counts_what_was_answered() {
    let gateway = TestGateway::usual().await;
    for _ in 0..3 {
        gateway.image(&Store::id(1)).await;
    }
    gateway.image("image-none").await;
    gateway.get("/nowhere").await;
    let status = gateway.page("/status").await;
    for (outcome, count) in [("hit", 2), ("miss", 2), ("rejected", 1), ("error", 0)] {
        assert_eq!(status["requests"][outcome], count, "{outcome}");
    }
    assert_eq!(status["hit_ratio"], 0.5);
    assert_eq!(status["upstream"]["requests"]["ok"], 1);
    assert_eq!(status["upstream"]["requests"]["not_found"], 1);
    assert_eq!(status["upstream"]["in_flight"], 0);
    assert_eq!(status["cache"]["entries"], 1);
    assert_eq!(status["cache"]["negative_entries"], 1);
    assert!(status["cache"]["bytes"].as_u64().unwrap() > 626);
    let hit = &status["latency_seconds"]["hit"];
    assert!(hit["p50"].as_f64().unwrap() <= hit["p99"].as_f64().unwrap());
    assert_eq!(status["latency_seconds"]["stale"], Value::Null);
}

#[tokio::test]
async fn config_shows_each_settings_source_and_no_secret() {
    let gateway = TestGateway::with("freshness.max", "20m").await;
    let answer = gateway.admin(Method::GET, "/config", "").await;
    let text = answer.text();
    assert!(text.contains("max = \"20m\"  # from flag --set"), "{text}");
    assert!(text.contains("\nwrites = false\n"), "{text}");
    assert!(
        !text.contains(KEY_SECRET) && !text.contains(KEY_ID),
        "{text}"
    );
    toml::from_str::<Value>(&text).unwrap();
}

#[tokio::test]
async fn a_page_of_another_site_is_rejected() {
    let gateway = TestGateway::usual().await;
    gateway.image(&Store::id(1)).await;
    let own = gateway.app.admin.to_string();
    let own_origin = format!("http://{own}");
    let json = ("content-type", "application/json");
    for (header, status) in [
        (("origin", "http://evil.example"), 403),
        (("origin", "null"), 403),
        (("host", "evil.example"), 403),
        (("host", "evil.example:9901"), 403),
        (("origin", own_origin.as_str()), 200),
        (("host", "localhost"), 200),
    ] {
        let headers = [header];
        let page = ask(&gateway.app.admin, Method::GET, "/status", &headers, "").await;
        assert_eq!(page.status, status, "{header:?}");
        if status == 403 {
            let (headers, all) = ([header, json], r#"{"all":true}"#);
            let purge = ask(&gateway.app.admin, Method::POST, "/purge", &headers, all).await;
            assert_eq!(purge.status, 403, "{header:?}");
        }
    }
    assert_eq!(gateway.page("/status").await["cache"]["entries"], 1);
}

#[tokio::test]
async fn where_a_token_is_set_only_probes_and_metrics_need_none() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("token");
    std::fs::write(&file, "token-of-tests\n").unwrap();
    let gateway = TestGateway::with("admin.token_file", file.to_str().unwrap()).await;
    let admin = &gateway.app.admin;
    let json = ("content-type", "application/json");
    let pages = [
        (Method::GET, "/status", ""),
        (Method::GET, "/config", ""),
        (Method::GET, "/entries/image-a", ""),
        (Method::POST, "/purge", r#"{"all":true}"#),
    ];
    for (method, target, body) in pages {
        for (authorization, status) in [
            ("", 401),
            ("Bearer wrong", 401),
            ("Bearer ", 401),
            ("Bearer token-of-test", 401),
            ("Basic token-of-tests", 401),
            ("Bearer token-of-tests", 200),
        ] {
            let headers = [json, ("authorization", authorization)];
            let answer = ask(admin, method.clone(), target, &headers, body).await;
            assert_eq!(answer.status, status, "{target} {authorization}");
            assert!(!answer.everything().contains("token-of-tests"), "{target}");
        }
    }
    for target in ["/livez", "/readyz", "/startupz", "/metrics"] {
        assert_eq!(ask(admin, Method::GET, target, &[], "").await.status, 200);
    }
}

#[tokio::test]
async fn the_observe_listener_has_probes_and_metrics_alone() {
    let gateway = TestGateway::with("observe.address", "127.0.0.1:0").await;
    let observe = address(&gateway.app.listening(), "observe");
    for target in ["/livez", "/readyz", "/startupz", "/metrics"] {
        let answer = ask(&observe, Method::GET, target, &[], "").await;
        assert_eq!(answer.status, 200, "{target}");
    }
    let image = path(&Store::id(1));
    for target in [
        "/status",
        "/config",
        "/purge",
        "/entries/image-a",
        "/",
        &image,
    ] {
        let answer = ask(&observe, Method::GET, target, &[], "").await;
        assert_eq!(answer.status, 404, "{target}");
    }
    let (json, all) = ([("content-type", "application/json")], r#"{"all":true}"#);
    let purge = ask(&observe, Method::POST, "/purge", &json, all).await;
    assert_eq!(purge.status, 404);
}

#[tokio::test]
async fn unknown_pages_and_other_methods_get_different_errors() {
    let gateway = TestGateway::usual().await;
    for (method, target, status, allow) in [
        (Method::GET, "/nowhere", 404, ""),
        (Method::GET, "/api/v1/images/image-a", 404, ""),
        (Method::POST, "/status", 405, "GET"),
        (Method::DELETE, "/config", 405, "GET"),
        (Method::GET, "/purge", 405, "POST"),
        (Method::POST, "/livez", 405, "GET, HEAD"),
        (Method::POST, "/metrics", 405, "GET, HEAD"),
    ] {
        let answer = gateway.admin(method, target, "").await;
        assert_eq!(answer.status, status, "{target}");
        assert_eq!(answer.header("allow"), allow, "{target}");
    }
}
