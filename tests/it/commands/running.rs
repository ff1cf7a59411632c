//! Commands that ask a running gateway.

use std::net::TcpListener;

use http::Method;
use pai_image_gateway::emulator::Store;
use pai_image_gateway::environment::Environment;
use serde_json::Value;

use crate::process::{origin, serving};
use crate::support::{Process, address, ask, eventually, path, run};

#[tokio::test]
async fn status_and_explain_print_what_a_gateway_holds() {
    let emulator = origin().await;
    let (process, ports) = serving(&emulator, &[]).await;
    let (data, admin) = (address(&ports, "listen"), ports["admin"].as_str().unwrap());
    let id = Store::id(0);
    for _ in 0..2 {
        ask(&data, Method::GET, &path(&id), &[], "").await.found();
    }
    let status = run(&Environment::new(), &["status", "--admin", admin]).await;
    assert_eq!(status.code, 0, "{}", status.stderr);
    for part in [
        "ready, version",
        "50.00 %",
        "breaker closed",
        "1 images",
        id.as_str(),
    ] {
        assert!(status.stdout.contains(part), "{part}\n{}", status.stdout);
    }
    let explained = run(&Environment::new(), &["explain", &id, "--admin", admin]).await;
    assert_eq!(explained.code, 0, "{}", explained.stderr);
    for part in [
        "Verbose=false: fresh",
        "The image last changed",
        "Verbose=true: absent",
    ] {
        assert!(
            explained.stdout.contains(part),
            "{part}\n{}",
            explained.stdout
        );
    }
    let page = ask(&address(&ports, "admin"), Method::GET, "/status", &[], "").await;
    let json = run(&Environment::new(), &["status", "--admin", admin, "--json"]).await;
    let json: Value = serde_json::from_str(&json.stdout).unwrap();
    let keys =
        |value: &Value| -> Vec<String> { value.as_object().unwrap().keys().cloned().collect() };
    assert_eq!(keys(&json), keys(&page.json()));
    drop(process);
}

#[tokio::test]
async fn a_watched_status_is_printed_until_the_command_is_stopped() {
    let emulator = origin().await;
    let (_process, ports) = serving(&emulator, &[]).await;
    let admin = ports["admin"].as_str().unwrap();
    let arguments = ["status", "--watch", "1", "--admin", admin];
    let mut watching = Process::start(&Environment::new(), &arguments);
    eventually("it is printed again, with rates", async || {
        let printed = watching.output("stdout");
        printed.matches("ready, version").count() > 1 && printed.contains("hit ratio")
    })
    .await;
    watching.terminate();
    assert_eq!(watching.wait().await.code(), Some(0));
}

#[tokio::test]
async fn an_address_without_a_gateway_is_named_with_the_remedy() {
    // A port on which no process listens: it was free a moment ago.
    let free = TcpListener::bind("127.0.0.1:0").unwrap();
    let nobody = free.local_addr().unwrap().to_string();
    drop(free);
    for command in [
        &["status"][..],
        &["explain", "image-a"],
        &["purge", "--all"],
        &["healthcheck"],
    ] {
        let refused = run(
            &Environment::new(),
            &[command, &["--admin", &nobody]].concat(),
        )
        .await;
        assert_eq!(refused.code, 1, "{command:?}");
        for part in [nobody.as_str(), "--admin", "admin.address", "not running"] {
            assert!(refused.stderr.contains(part), "{part}: {}", refused.stderr);
        }
        assert_eq!(refused.stdout, "");
    }
}

#[tokio::test]
async fn a_missing_admin_token_is_asked_for() {
    let folder = tempfile::tempdir().unwrap();
    let token = folder.path().join("token");
    std::fs::write(&token, "of-the-admin\n").unwrap();
    let setting = format!("admin.token_file={}", token.display());
    let emulator = origin().await;
    let (_process, ports) = serving(&emulator, &[&setting]).await;
    let admin = ports["admin"].as_str().unwrap();
    let refused = run(&Environment::new(), &["status", "--admin", admin]).await;
    assert_eq!(refused.code, 1);
    assert!(
        refused.stderr.contains("admin.token_file"),
        "{}",
        refused.stderr
    );
    let arguments = ["status", "--admin", admin, "--set", &setting];
    let shown = run(&Environment::new(), &arguments).await;
    assert_eq!(shown.code, 0, "{}", shown.stderr);
}

#[tokio::test]
async fn arguments_that_cannot_be_used_end_with_2_and_a_remedy() {
    for (arguments, remedy) in [
        (
            &["ttl", "--modified", "yesterday"][..],
            "2026-11-23T12:00:00Z",
        ),
        (&["ttl", "--created", "1"], "2026-11-23T12:00:00Z"),
        (&["ttl", "--draw", "1"], "from 0 up to but not 1"),
        (&["explain", "a/b"], "letters, digits"),
        (&["status", "--admin", "nowhere"], "unix:PATH"),
        (&["status", "--watch", "0"], "1..=3600"),
        (&["client", "add", "../two"], "the client's name"),
        (&["emulate", "--faults", "/nowhere"], "/nowhere"),
        (&["emulate", "--fixtures", "/nowhere"], "probe --record"),
        (
            &["policy", "--set", "auth.mode=required"],
            "auth.clients_file",
        ),
        (&["policy", "--document", "trust"], "credentials.source"),
        (
            &[
                "policy",
                "--set",
                "upstream.kind=gateway",
                "--set",
                "upstream.endpoint=https://gateway.example",
            ],
            "client add",
        ),
    ] {
        let refused = run(&Environment::new(), arguments).await;
        assert_eq!(refused.code, 2, "{arguments:?}: {}", refused.stderr);
        assert!(
            refused.stderr.contains(remedy),
            "{arguments:?}: {}",
            refused.stderr
        );
    }
}
