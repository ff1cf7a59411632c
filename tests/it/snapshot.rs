//! Restarts: restored entries, purged entries that must stay away, and rejected files.

mod killed;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use http::Method;
use pai_image_gateway::emulator::{Emulator, Store};
use pai_image_gateway::server::Address;
use serde_json::Value;

use crate::process::{origin, serving};
use crate::support::{Process, Setup, TestGateway, address, ask, eventually, path, sample};

const REVALIDATING: &str = "detail=revalidating";

fn snapshot(folder: &Path) -> String {
    folder.join("images.snapshot").to_str().unwrap().to_owned()
}

/// Settings of a gateway with a snapshot, in front of an existing origin.
fn keeping<'a>(folder: &'a Path, emulator: Option<&'a Emulator>) -> impl FnOnce(&mut Setup) + 'a {
    move |setup| {
        setup.set("cache.snapshot", &snapshot(folder));
        setup.set("api.wait_with_stale", "500ms");
        if let Some(emulator) = emulator {
            setup.set(
                "upstream.endpoint",
                &format!("http://{}", emulator.address()),
            );
        }
    }
}

/// A process over the same folder that writes a snapshot this often.
async fn process(emulator: &Emulator, folder: &Path, interval: &str) -> (Process, Value) {
    let settings = [
        format!("cache.snapshot={}", snapshot(folder)),
        format!("cache.snapshot_interval={interval}"),
        "api.writes=true".to_owned(),
        "shutdown.drain=5s".to_owned(),
    ];
    let settings: Vec<_> = settings.iter().map(String::as_str).collect();
    serving(emulator, &settings).await
}

async fn saved(admin: &Address, images: f64) {
    eventually("the snapshot is written", async || {
        let metrics = ask(admin, Method::GET, "/metrics", &[], "").await.text();
        let labels = [("snapshot", "written")];
        sample(&metrics, "pai_gateway_snapshot_entries", &labels) >= images
    })
    .await;
}

async fn state(admin: &Address, id: &str) -> Value {
    let page = ask(admin, Method::GET, &format!("/entries/{id}"), &[], "").await;
    page.json()["variants"][0]["state"].clone()
}

fn log(process: &Process) -> String {
    process.output("stderr") + &process.output("stdout")
}

#[tokio::test]
async fn the_first_answer_after_a_restart_is_stale_and_fetched_again() {
    let folder = tempfile::tempdir().unwrap();
    let id = Store::id(1);
    let gateway = TestGateway::start(keeping(folder.path(), None)).await;
    let before = gateway.image(&id).await;
    let emulator = gateway.stop().await;
    let gateway = TestGateway::start(keeping(folder.path(), Some(&emulator))).await;
    let entry = &gateway.page(&format!("/entries/{id}")).await["variants"][0];
    assert_eq!(entry["state"], "stale", "{entry}");
    let explanation = entry["explanation"].as_str().unwrap();
    assert!(
        explanation.contains("restored from the snapshot"),
        "{explanation}"
    );
    let answer = gateway.image(&id).await;
    assert!(answer.cache_status().ends_with(REVALIDATING), "{answer:?}");
    assert_eq!(answer.body, before.body);
    assert_eq!(
        answer.header("x-acs-request-id"),
        before.header("x-acs-request-id")
    );
    eventually("it is fresh again", async || {
        gateway
            .image(&id)
            .await
            .cache_status()
            .contains("; hit; ttl=")
            && gateway.outcomes("hit").await > 0.0
    })
    .await;
    assert_eq!(emulator.fetches(&id), 2);
}

#[tokio::test]
async fn a_restart_while_the_origin_is_down_still_answers() {
    let folder = tempfile::tempdir().unwrap();
    let (recent, softened) = (Store::id(1), Store::id(2));
    let gateway = TestGateway::start(keeping(folder.path(), None)).await;
    gateway.image(&recent).await.found();
    gateway.image(&softened).await.found();
    gateway.soften(&softened).await;
    let emulator = gateway.stop().await;
    let endpoint = format!("http://{}", emulator.address());
    emulator.shutdown().await;
    let gateway = TestGateway::start(|setup| {
        keeping(folder.path(), None)(setup);
        setup.set("upstream.endpoint", &endpoint);
    })
    .await;
    let answer = gateway.image(&recent).await;
    assert_eq!(answer.found()["ImageId"], recent);
    assert!(answer.cache_status().ends_with(REVALIDATING), "{answer:?}");
    let answer = gateway.image(&softened).await;
    assert_eq!(answer.found()["ImageId"], softened);
    assert!(
        answer.cache_status().ends_with("detail=origin-error"),
        "{answer:?}"
    );
}

#[tokio::test]
async fn purged_and_written_images_stay_away_after_a_kill() {
    let (folder, emulator) = (tempfile::tempdir().unwrap(), origin().await);
    let [kept, hard, soft, written, gone] = [1, 2, 3, 4, 5].map(Store::id);
    let (first, ports) = process(&emulator, folder.path(), "20ms").await;
    for id in [&kept, &hard, &soft, &written, &gone] {
        ask(&address(&ports, "listen"), Method::GET, &path(id), &[], "")
            .await
            .found();
    }
    saved(&address(&ports, "admin"), 5.0).await;
    drop(first);
    let (second, ports) = process(&emulator, folder.path(), "1h").await;
    let (data, admin) = (address(&ports, "listen"), address(&ports, "admin"));
    for request in [
        format!(r#"{{"image":"{hard}"}}"#),
        format!(r#"{{"image":"{soft}","soft":true}}"#),
    ] {
        let json = [("content-type", "application/json")];
        let answer = ask(&admin, Method::POST, "/purge", &json, &request).await;
        assert_eq!(answer.json()["purged"], 1, "{answer:?}");
    }
    let publish = format!("{}/publish", path(&written));
    assert_eq!(ask(&data, Method::PUT, &publish, &[], "").await.status, 200);
    // Removed at the origin directly: the origin's 404 counts as well.
    emulator.store().remove(&gone);
    eventually("it is known to be gone", async || {
        // A refresh begins no sooner than a second after the fetch before it.
        ask(&data, Method::GET, &path(&gone), &[], "").await;
        state(&admin, &gone).await == "negative"
    })
    .await;
    drop(second);
    let (third, ports) = process(&emulator, folder.path(), "1h").await;
    let admin = address(&ports, "admin");
    assert_eq!(state(&admin, &kept).await, "stale", "{}", log(&third));
    for id in [&hard, &written, &gone] {
        assert_eq!(state(&admin, id).await, "absent", "{}", log(&third));
    }
    let answer = ask(
        &address(&ports, "listen"),
        Method::GET,
        &path(&soft),
        &[],
        "",
    )
    .await;
    assert!(answer.cache_status().contains("fwd=uri-miss"), "{answer:?}");
}

#[tokio::test]
async fn a_file_that_cannot_be_trusted_is_rejected_and_logged() {
    let (folder, emulator) = (tempfile::tempdir().unwrap(), origin().await);
    let (id, file) = (Store::id(1), snapshot(folder.path()));
    let gateway = TestGateway::start(keeping(folder.path(), Some(&emulator))).await;
    gateway.image(&id).await.found();
    gateway.stop().await.shutdown().await;
    let (sound, journal) = (fs::read(&file).unwrap(), format!("{file}.journal"));
    let sound_journal = fs::read(&journal).unwrap();
    let changed = |at: usize, to: u8| {
        let mut bytes = sound.clone();
        bytes[at] = to;
        bytes
    };
    let middle = sound.len() / 2;
    let damaged_journal = [
        &sound_journal[..20],
        &[!sound_journal[20]],
        &sound_journal[21..],
    ]
    .concat();
    let cases = [
        (
            "checksum",
            changed(middle, !sound[middle]),
            0o600,
            &sound_journal,
        ),
        (
            "checksum",
            sound[..sound.len() - 1].to_vec(),
            0o600,
            &sound_journal,
        ),
        ("version 0", changed(8, 0), 0o600, &sound_journal),
        ("no snapshot", Vec::new(), 0o600, &sound_journal),
        ("mode 0644", sound.clone(), 0o644, &sound_journal),
        ("journal is damaged", sound.clone(), 0o600, &damaged_journal),
        (
            "restored from the snapshot",
            sound.clone(),
            0o600,
            &sound_journal,
        ),
    ];
    for (expected, bytes, mode, journalled) in cases {
        fs::write(&file, bytes).unwrap();
        fs::write(&journal, journalled).unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(mode)).unwrap();
        let (process, ports) = process(&emulator, folder.path(), "1h").await;
        // A thread of its own writes the log.
        eventually(expected, async || log(&process).contains(expected)).await;
        let log = log(&process);
        assert!(log.contains(&file), "{expected}: {log}");
        let refused = expected != "restored from the snapshot";
        assert_eq!(
            log.contains("refused: starting cold"),
            refused,
            "{expected}: {log}"
        );
        let found = state(&address(&ports, "admin"), &id).await;
        assert_eq!(
            found,
            if refused { "absent" } else { "stale" },
            "{expected}"
        );
    }
}
