//! `rehearse`: origin failures, played to a copy of the operator's settings.

use std::fs;
use std::net::TcpListener;

use pai_image_gateway::environment::Environment;
use serde_json::Value;

use crate::support::{ONE_CROWD, run};

/// Runs some failures, and returns the exit code and the report.
async fn rehearse(more: &[&str], only: &[&str]) -> (i32, Value) {
    let _alone = ONE_CROWD.lock().await;
    let only = only.iter().flat_map(|name| ["--only", name]);
    let arguments: Vec<&str> = ["rehearse", "--json"]
        .into_iter()
        .chain(only)
        .chain(more.iter().copied())
        .collect();
    let finished = run(&Environment::new(), &arguments).await;
    let report = serde_json::from_str(&finished.stdout);
    (
        finished.code,
        report.unwrap_or_else(|_| finished.stderr.into()),
    )
}

#[tokio::test]
async fn the_default_settings_end_as_documented() {
    let names = ["none", "nothing listens", "503", "wrong secret", "silent"];
    let (code, report) = rehearse(&[], &names).await;
    assert_eq!(code, 0, "{report:#}");
    let failures = report["failures"].as_array().unwrap();
    assert_eq!(failures.len(), names.len());
    let played = |name: &str| {
        failures
            .iter()
            .find(|failure| failure["name"] == name)
            .unwrap()
    };
    assert!(played("none")["cached"]["fresh"].as_u64() > Some(0));
    assert_eq!(
        played("none")["conditions"],
        Value::from(Vec::<Value>::new())
    );
    for (name, condition, alert) in [
        (
            "nothing listens",
            "origin_unreachable",
            "PaiGatewayServingStale",
        ),
        ("503", "origin_fails", "PaiGatewayServingStale"),
        (
            "wrong secret",
            "credential_refused",
            "PaiGatewayCredentialRejected",
        ),
        ("silent", "origin_unreachable", "PaiGatewayServingStale"),
    ] {
        let failure = played(name);
        assert!(failure["cached"]["stale"].as_u64() > Some(0), "{failure:#}");
        let has = |list: &str, text: &str| failure[list].as_array().unwrap().contains(&text.into());
        assert!(
            has("conditions", condition) && has("alerts", alert),
            "{failure:#}"
        );
        assert!(
            failure["until"]
                .as_str()
                .unwrap()
                .contains("24h past the ttl")
        );
    }
}

#[tokio::test]
async fn a_setting_that_loses_cached_images_fails_and_is_named() {
    let setting = ["--set", "freshness.stale_if_error=0s"];
    let (code, report) = rehearse(&setting, &["503"]).await;
    assert_eq!(code, 1, "{report:#}");
    assert_eq!(report["ok"], false);
    let worse = report["worse"].to_string();
    assert!(
        worse.contains("freshness.stale_if_error") && worse.contains("set it to 24h"),
        "{worse}"
    );
    assert!(report["failures"][0]["cached"]["failed"]["503"].as_u64() > Some(0));
}

#[tokio::test]
async fn a_rehearsal_touches_nothing_real() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).display().to_string();
    fs::write(path("snapshot"), "of another program").unwrap();
    fs::write(path("clients.toml"), "").unwrap();
    // The origin, Redis and the collector of traces: they must get no connection.
    let real = [(); 3].map(|()| TcpListener::bind("127.0.0.1:0").unwrap());
    let [origin, redis, collector] =
        [&real[0], &real[1], &real[2]].map(|real| real.local_addr().unwrap());
    let settings = format!(
        "[listen]\nunix = \"{}\"\n[upstream]\nendpoint = \"http://{origin}\"\nallow_http = true\n\
         [shared_cache]\nurl = \"redis://{redis}\"\n[traces]\nendpoint = \"http://{collector}\"\n\
         [cache]\nsnapshot = \"{}\"\n[audit]\nto = \"{}\"\n",
        path("gateway.sock"),
        path("snapshot"),
        path("audit"),
    );
    fs::write(path("gateway.toml"), settings).unwrap();
    let file = path("gateway.toml");
    let (code, report) = rehearse(&["--config", &file], &["500"]).await;
    assert_eq!(code, 0, "{report:#}");
    for real in &real {
        real.set_nonblocking(true).unwrap();
        assert!(real.accept().is_err(), "{real:?} got a connection");
    }
    assert_eq!(
        fs::read_to_string(path("snapshot")).unwrap(),
        "of another program"
    );
    let mut names: Vec<_> = fs::read_dir(folder.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    assert_eq!(names, ["clients.toml", "gateway.toml", "snapshot"]);
}

#[tokio::test]
async fn an_unknown_failure_is_a_mistake_that_lists_the_known_ones() {
    let (code, error) = rehearse(&[], &["tsunami"]).await;
    assert_eq!(code, 2);
    assert!(error.to_string().contains("overdue account"), "{error}");
}
