//! Settings that change while the gateway runs.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use http::Method;
use pai_image_gateway::emulator::{Emulator, Store};
use pai_image_gateway::server::Address;
use tempfile::TempDir;

use crate::process::{flags, origin, settings};
use crate::support::{Connection, Process, address, ask, environment, eventually, path};

/// A gateway process whose settings come from a file.
struct Gateway {
    process: Process,
    data: Address,
    admin: Address,
    _emulator: Emulator,
    folder: TempDir,
}

impl Gateway {
    /// Starts with this file. It checks for changes so rarely that only SIGHUP counts, unless
    /// `more` says otherwise.
    async fn start(text: &str, more: &str) -> Self {
        let emulator = origin().await;
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("1")).unwrap();
        fs::write(folder.path().join("1/gateway.toml"), text).unwrap();
        symlink("1", folder.path().join("data")).unwrap();
        let file = folder.path().join("data/gateway.toml");
        let mut all = settings(&emulator);
        all.push(more.to_owned());
        let config = ["serve", "--config", file.to_str().unwrap()];
        let arguments = [config.to_vec(), flags(&all)].concat();
        let (process, ports) = Process::serve(&environment(), &arguments).await;
        Self {
            process,
            data: address(&ports, "listen"),
            admin: address(&ports, "admin"),
            _emulator: emulator,
            folder,
        }
    }

    fn file(&self) -> PathBuf {
        self.folder.path().join("1/gateway.toml")
    }

    fn rewrite(&self, text: &str) {
        fs::write(self.file(), text).unwrap();
        self.process.hang_up();
    }

    async fn page(&self, name: &str) -> String {
        let answer = ask(&self.admin, Method::GET, name, &[], "").await;
        String::from_utf8(answer.body.to_vec()).unwrap()
    }

    async fn counts(&self, result: &str, times: u64) {
        let line =
            format!("pai_gateway_reloads_total{{part=\"settings\",result=\"{result}\"}} {times}");
        eventually("the reload is counted", async || {
            self.page("/metrics").await.contains(&line)
        })
        .await;
    }

    /// The longest ttl that the image's answer could have.
    async fn ceiling(&self, image: usize) -> u64 {
        let target = path(&Store::id(image));
        let answer = ask(&self.data, Method::GET, &target, &[], "").await;
        assert_eq!(answer.status, 200);
        let page = self.page(&format!("/entries/{}", Store::id(image))).await;
        let entry: serde_json::Value = serde_json::from_str(&page).unwrap();
        entry["variants"][0]["ceiling_seconds"].as_u64().unwrap()
    }
}

const SELDOM: &str = "reload.interval=1h";

#[tokio::test]
async fn reloadable_settings_are_applied_and_the_others_are_named() {
    let gateway = Gateway::start("[freshness]\nmax = \"10m\"\n", SELDOM).await;
    assert_eq!(gateway.ceiling(1).await, 600);
    gateway.rewrite("[freshness]\nmax = \"2m\"\n[log]\nlevel = \"debug\"\n[api]\nwrites = true\n");
    gateway.counts("ok", 1).await;
    assert_eq!(gateway.ceiling(2).await, 120);
    let shown = gateway.page("/config").await;
    assert!(shown.starts_with("# At the next start, not before: api.writes\n"));
    assert!(shown.contains("max = \"2m\"  # from file "), "{shown}");
    let log = gateway.process.output("stderr");
    for line in [
        "changed=\"freshness.max, log.level\"",
        "waiting=\"api.writes\"",
    ] {
        assert!(log.contains(line), "{log}");
    }
    // The new level applies at once: a request is logged.
    gateway.ceiling(3).await;
    eventually("the log has the request", async || {
        gateway.process.output("stderr").contains("answered")
    })
    .await;
}

#[tokio::test]
async fn a_bad_file_changes_nothing() {
    let good = "[freshness]\nmax = \"10m\"\n";
    let gateway = Gateway::start(good, SELDOM).await;
    let before = gateway.page("/config").await;
    let bad = [
        "[freshness]\nmax = \"never\"\n",
        "[freshnes]\nmax = \"2m\"\n",
        "nonsense",
    ];
    for (count, text) in (1..).zip(bad) {
        gateway.rewrite(text);
        gateway.counts("error", count).await;
        assert_eq!(gateway.page("/config").await, before);
    }
    fs::remove_file(gateway.file()).unwrap();
    gateway.process.hang_up();
    gateway.counts("error", 4).await;
    assert_eq!(gateway.ceiling(1).await, 600);
    let log = gateway.process.output("stderr");
    assert!(
        log.contains("freshness.max") && log.contains("subject=\"settings\""),
        "{log}"
    );
    gateway.rewrite("[freshness]\nmax = \"2m\"\n");
    gateway.counts("ok", 1).await;
    assert_eq!(gateway.ceiling(2).await, 120);
}

#[tokio::test]
async fn a_swapped_config_map_is_noticed_without_a_signal() {
    let gateway = Gateway::start("[freshness]\nmax = \"10m\"\n", "reload.interval=100ms").await;
    let at = |name: &str| gateway.folder.path().join(name);
    fs::create_dir(at("2")).unwrap();
    fs::write(at("2/gateway.toml"), "[freshness]\nmax = \"2m\"\n").unwrap();
    symlink("2", at("next")).unwrap();
    fs::rename(at("next"), at("data")).unwrap();
    gateway.counts("ok", 1).await;
    assert_eq!(gateway.ceiling(1).await, 120);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_request_is_lost_while_settings_are_read_again_and_again() {
    let gateway = Gateway::start("[freshness]\nmax = \"10m\"\n", SELDOM).await;
    let (answered, done) = (
        Arc::new(AtomicUsize::new(0)),
        Arc::new(AtomicBool::new(false)),
    );
    let clients: Vec<_> = (0..64)
        .map(|index| {
            let data = gateway.data.clone();
            let (answered, done) = (Arc::clone(&answered), Arc::clone(&done));
            tokio::spawn(async move {
                let mut connection = Connection::open(&data).await;
                let target = path(&Store::id(index));
                while !done.load(Ordering::Relaxed) {
                    assert_eq!(connection.get(&target).await.status, 200);
                    answered.fetch_add(1, Ordering::Relaxed);
                }
            })
        })
        .collect();
    for round in 1..=20 {
        let more = answered.load(Ordering::Relaxed) + 100;
        eventually("clients are answered", async || {
            answered.load(Ordering::Relaxed) > more
        })
        .await;
        gateway.rewrite(&format!("[freshness]\nmax = \"{}m\"\n", 10 + round));
        gateway.counts("ok", round).await;
    }
    done.store(true, Ordering::Relaxed);
    for client in clients {
        client.await.unwrap();
    }
}
