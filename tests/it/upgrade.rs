//! Upgrade and rollback: files and shared entries of each release are read, and those of a later one are refused.
//!
//! `tests/fixtures/make` wrote the fixtures, with the release's own program.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use serde_json::Value;
use tempfile::TempDir;

use crate::support::redis::{Kind, Redis};
use crate::support::{Setup, TestGateway, environment, run};

/// Releases whose fixtures there are.
const RELEASES: [&str; 1] = ["0.1.0"];

/// Origin of the fixtures' entries. Nothing listens there, so each answer is from an entry.
const ORIGIN: &str = "http://127.0.0.1:1";

/// Offset of the version in a snapshot and in a journal, after the eight bytes of their magic.
const VERSION_AT: usize = 8;

struct Fixtures {
    folder: PathBuf,
    answer: Value,
}

impl Fixtures {
    fn of(release: &str) -> Self {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("tests/fixtures")
            .join(release);
        let answer = fs::read(folder.join("answer.json")).unwrap();
        Self {
            folder,
            answer: serde_json::from_slice(&answer).unwrap(),
        }
    }

    fn path(&self, name: &str) -> String {
        self.folder.join(name).to_str().unwrap().to_owned()
    }

    fn text(&self, member: &str) -> &str {
        self.answer[member].as_str().unwrap()
    }

    /// Copies the snapshot and its journal, readable by this user only as a gateway leaves them.
    fn snapshot(&self) -> TempDir {
        let place = tempfile::tempdir().unwrap();
        for name in ["images.snapshot", "images.snapshot.journal"] {
            write(
                &place.path().join(name),
                &fs::read(self.folder.join(name)).unwrap(),
            );
        }
        place
    }

    /// Asserts that the gateway answers from its entries, with the bytes that the release answered.
    async fn are_served_by(&self, gateway: &TestGateway) {
        let answer = gateway.image(self.text("image")).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        assert_eq!(answer.body, self.text("body").as_bytes());
        let purged = gateway.image(self.text("purged")).await;
        assert_eq!(purged.status, 503, "{purged:?}");
    }
}

fn write(path: &Path, bytes: &[u8]) {
    fs::write(path, bytes).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o600)).unwrap();
}

/// A gateway whose origin is away and whose entries stay usable for a century.
async fn gateway(change: impl FnOnce(&mut Setup)) -> TestGateway {
    TestGateway::start(|setup| {
        setup.set("upstream.endpoint", ORIGIN);
        setup.set("freshness.stale_if_error", "876000h");
        change(setup);
    })
    .await
}

async fn over(place: &TempDir) -> TestGateway {
    let path = place.path().join("images.snapshot");
    gateway(|setup| setup.set("cache.snapshot", path.to_str().unwrap())).await
}

#[tokio::test]
async fn the_snapshot_of_each_release_answers_after_an_upgrade() {
    for release in RELEASES {
        let fixtures = Fixtures::of(release);
        let place = fixtures.snapshot();
        fixtures.are_served_by(&over(&place).await).await;
    }
}

#[tokio::test]
async fn a_snapshot_or_journal_of_a_later_release_is_refused_and_nothing_else_fails() {
    let fixtures = Fixtures::of(RELEASES[0]);
    for name in ["images.snapshot", "images.snapshot.journal"] {
        let place = fixtures.snapshot();
        let path = place.path().join(name);
        let mut bytes = fs::read(&path).unwrap();
        bytes[VERSION_AT] += 1;
        write(&path, &bytes);
        let gateway = over(&place).await;
        let answer = gateway.image(fixtures.text("image")).await;
        assert_eq!(answer.status, 503, "{name}: {answer:?}");
        let loaded = [("snapshot", "loaded")];
        let name = "pai_gateway_snapshot_entries";
        assert_eq!(gateway.metric(name, &loaded).await, 0.0);
    }
}

#[tokio::test]
async fn the_settings_of_each_release_are_accepted() {
    for release in RELEASES {
        let file = Fixtures::of(release).path("gateway.toml");
        let done = run(&environment(), &["config", "--config", &file]).await;
        assert_eq!(done.code, 0, "{release}: {}", done.stderr);
    }
}

#[tokio::test]
async fn a_setting_of_a_later_release_is_named_and_refused() {
    let place = tempfile::tempdir().unwrap();
    let file = place.path().join("gateway.toml");
    let release = fs::read_to_string(Fixtures::of(RELEASES[0]).path("gateway.toml")).unwrap();
    fs::write(
        &file,
        release.replace("[freshness]\n", "[freshness]\nlater = \"1s\"\n"),
    )
    .unwrap();
    let file = file.to_str().unwrap();
    let done = run(&environment(), &["config", "--config", file]).await;
    assert_eq!(done.code, 2, "{}", done.stdout);
    assert!(done.stderr.contains("freshness.later"), "{}", done.stderr);
}

/// Puts the dumped entries on a server.
async fn restore(redis: &Redis, fixtures: &Fixtures) {
    let dumps = fs::read(fixtures.folder.join("shared.json")).unwrap();
    let dumps: serde_json::Map<String, Value> = serde_json::from_slice(&dumps).unwrap();
    // The test's client sends text only.
    let script = "local bytes = ARGV[1]:gsub('..', function(hex) return string.char(tonumber(hex, 16)) end) \
                  return redis.call('RESTORE', KEYS[1], 0, bytes)";
    for (key, dump) in &dumps {
        let dump = dump.as_str().unwrap();
        redis.command(&["EVAL", script, "1", key, dump]).await;
    }
    assert!(dumps.len() > 1);
}

async fn sharing(redis: &Redis) -> TestGateway {
    let gateway = gateway(|setup| {
        setup.set("shared_cache.url", &redis.url());
        setup.set("shared_cache.timeout", "1s");
        setup.set("shared_cache.lease", "5s");
    })
    .await;
    crate::shared::await_up(&gateway, 1.0).await;
    gateway
}

#[tokio::test]
async fn the_shared_entries_of_each_release_answer_after_an_upgrade() {
    for release in RELEASES {
        let fixtures = Fixtures::of(release);
        let Some(redis) = Redis::start(Kind::Redis, |_| {}).await else {
            return;
        };
        restore(&redis, &fixtures).await;
        let gateway = sharing(&redis).await;
        let answer = gateway.image(fixtures.text("image")).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        assert_eq!(answer.body, fixtures.text("body").as_bytes());
    }
}

#[tokio::test]
async fn shared_entries_under_the_names_of_a_later_release_are_not_read() {
    let fixtures = Fixtures::of(RELEASES[0]);
    let Some(redis) = Redis::start(Kind::Redis, |_| {}).await else {
        return;
    };
    restore(&redis, &fixtures).await;
    let rename = "for _, key in ipairs(redis.call('KEYS', 'pai:1:*')) do \
                  redis.call('RENAME', key, 'pai:2:' .. key:sub(7)) end";
    redis.command(&["EVAL", rename, "0"]).await;
    let gateway = sharing(&redis).await;
    let answer = gateway.image(fixtures.text("image")).await;
    assert_eq!(answer.status, 503, "{answer:?}");
}
