mod formats;

use std::fs;
use std::os::unix::fs::PermissionsExt;

use http::HeaderValue;
use jiff::SignedDuration;
use tempfile::TempDir;
use tokio_util::task::TaskTracker;

use super::*;
use crate::api::{ImageFields, ImageId, ImageKey};
use crate::cache::freshness::Directives;
use crate::cache::record::ImageRecord;
use crate::cache::{Entry, FetchedImage, Freshness, LookupResult, Policy, PurgeMode, PurgeTarget};
use crate::observability::metrics::Metrics;
use crate::private_file::{PrivateFileError, read_private};
use crate::upstream::UpstreamFreshness;

fn head() -> SnapshotHeader {
    SnapshotHeader {
        generation: 7,
        journalled: 3,
        origin: "origin.example".to_owned(),
    }
}

fn saved(id: &str, age: Duration) -> ImageRecord {
    ImageRecord {
        key: ImageKey {
            image: ImageId::parse(id).unwrap(),
            verbose: false,
        },
        body: r#"{"ImageUri":"u"}"#.into(),
        request_id: Some(HeaderValue::from_static("r")),
        sent: Timestamp::now() - age,
        took: Duration::from_millis(3),
        ttl: Duration::from_secs(60),
        purged: false,
        date: Timestamp::now() - age,
        directives: Directives::default(),
        draw: 0.0,
    }
}

#[tokio::test]
async fn a_revived_image_keeps_its_age_and_is_never_fresh() {
    let (now, wall, policy) = (Instant::now(), Timestamp::now(), Policy::default());
    let revived = |age| restore::restore_entry(saved("a", age), &policy, now, wall);
    for (age, worth) in [
        (0, Freshness::StaleWhileRevalidate),
        (59, Freshness::StaleWhileRevalidate),
        (130, Freshness::StaleIfError),
    ] {
        let (_, entry) = revived(Duration::from_secs(age)).unwrap();
        assert_eq!(entry.freshness(&policy, now), worth, "{age}");
        assert!(entry.age(now).as_secs().abs_diff(age) <= 1, "{age}");
    }
    assert!(revived(Duration::from_secs(2 * 86_400)).is_none());
    let from = |seconds: i64| {
        let sent = wall
            .checked_add(SignedDuration::from_secs(seconds))
            .unwrap();
        let image = ImageRecord {
            sent,
            ..saved("a", Duration::ZERO)
        };
        restore::restore_entry(image, &policy, now, wall)
    };
    assert_eq!(from(60).unwrap().1.age(now), Duration::ZERO);
    assert!(from(600).is_none());
}

#[test]
fn only_a_private_regular_file_is_read() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("s");
    assert!(matches!(
        read_private(&path, 9),
        Err(PrivateFileError::Missing)
    ));
    fs::write(&path, "12345").unwrap();
    for mode in [0o644, 0o660, 0o604] {
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        assert!(
            matches!(read_private(&path, 9), Err(PrivateFileError::Mode(found)) if found == mode)
        );
    }
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    assert_eq!(read_private(&path, 5).unwrap(), b"12345");
    assert!(matches!(
        read_private(&path, 4),
        Err(PrivateFileError::TooLong(5))
    ));
    assert!(matches!(
        read_private(folder.path(), 9),
        Err(PrivateFileError::NotAFile)
    ));
}

type TestCache = Arc<Cache<&'static str>>;

struct Run {
    folder: TempDir,
    cache: TestCache,
    writer: Arc<SnapshotWriter<&'static str>>,
}

impl Run {
    async fn first() -> Self {
        Self::over(tempfile::tempdir().unwrap(), "origin").await
    }

    async fn over(folder: TempDir, origin: &str) -> Self {
        let config = Config {
            snapshot: Some(folder.path().join("s").to_str().unwrap().to_owned()),
            ..Config::default()
        };
        let metrics = Arc::new(Metrics::new());
        let policy = Policy::default();
        let cache = Arc::new(Cache::new(&config, policy, metrics, TaskTracker::new()));
        let writer = SnapshotWriter::open(&config, origin, &cache).await.unwrap();
        Self {
            folder,
            cache,
            writer,
        }
    }

    /// Ends without a last snapshot, as a kill does, and starts again.
    async fn killed(self) -> Self {
        drop((self.cache, self.writer));
        Self::over(self.folder, "origin").await
    }

    fn put(&self, id: &str) {
        self.put_from(id, UpstreamFreshness::default());
    }

    /// Puts an image that had this age and bound when it arrived.
    fn put_from(&self, id: &str, upstream: UpstreamFreshness) {
        let key = saved(id, Duration::ZERO).key;
        let arrival = FetchedImage {
            body: "{}".into(),
            fields: ImageFields::default(),
            request_id: None,
            sent: Instant::now(),
            took: Duration::ZERO,
            received: Timestamp::now(),
            date: None,
            cache_control: String::new(),
            upstream,
        };
        let entry = Entry::new(arrival, false, &Policy::default(), 0.0);
        self.cache.images.insert(key, Arc::new(entry));
    }

    async fn purge(&self, id: &str) {
        let image = PurgeTarget::Image(ImageId::parse(id).unwrap());
        self.cache.purge_durably(&image, PurgeMode::Hard).await;
    }

    fn holds(&self, id: &str) -> bool {
        let key = saved(id, Duration::ZERO).key;
        matches!(
            self.cache.look_up(&key, Instant::now()),
            LookupResult::Image(..)
        )
    }

    fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }
}

#[tokio::test]
async fn entries_are_restored_unless_they_were_purged() {
    let run = Run::first().await;
    run.put("a");
    run.put("b");
    run.writer.write().await;
    run.purge("a").await;
    let run = run.killed().await;
    assert!(!run.holds("a") && run.holds("b"));
    // Neither after another kill, nor once a snapshot has made the order needless.
    let run = run.killed().await;
    assert!(!run.holds("a") && run.holds("b"));
    run.put("a");
    run.writer.write().await;
    let run = run.killed().await;
    assert!(run.holds("a") && run.holds("b"));
}

#[tokio::test]
async fn an_entry_that_another_cache_had_held_keeps_its_age_and_ttl_over_a_restart() {
    let run = Run::first().await;
    let upstream = UpstreamFreshness::new(Duration::from_secs(40), Some(10), None);
    run.put_from("a", upstream);
    run.writer.write().await;
    let run = run.killed().await;
    let (key, now) = (saved("a", Duration::ZERO).key, Instant::now());
    let LookupResult::Image(entry, freshness) = run.cache.look_up(&key, now) else {
        panic!("it is cached");
    };
    assert_eq!(freshness, Freshness::StaleWhileRevalidate);
    assert_eq!(entry.ttl(), Duration::from_secs(50));
    assert!(entry.age(now) >= Duration::from_secs(40));
}

#[tokio::test]
async fn a_purge_while_a_snapshot_is_written_is_kept() {
    let run = Run::first().await;
    run.put("a");
    run.put("b");
    run.purge("b").await;
    run.put("b");
    let checkpoint = run.writer.journal.checkpoint();
    let images = [saved("a", Duration::ZERO), saved("b", Duration::ZERO)];
    let head = SnapshotHeader {
        generation: checkpoint.generation,
        journalled: checkpoint.next,
        origin: "origin".to_owned(),
    };
    let draft = AtomicFile::write(&run.file("s"), |out| encode(&head, images.into_iter(), out));
    run.purge("a").await;
    let unshortened = fs::read(run.file("s.journal")).unwrap();
    run.writer
        .journal
        .commit(&checkpoint, draft.unwrap())
        .unwrap();
    assert!(fs::read(run.file("s.journal")).unwrap().len() < unshortened.len());
    let run = run.killed().await;
    assert!(!run.holds("a") && run.holds("b"));
    // The same, had it been killed before the journal was shortened.
    fs::write(run.file("s.journal"), unshortened).unwrap();
    let run = run.killed().await;
    assert!(!run.holds("a") && run.holds("b"));
}

#[tokio::test]
async fn a_purge_that_cannot_be_journalled_invalidates_the_snapshot() {
    let run = Run::first().await;
    run.put("a");
    run.writer.write().await;
    // Nothing can be written to it any more, nor a new one be made.
    fs::create_dir(run.file("s.journal.draft")).unwrap();
    fs::remove_file(run.file("s.journal")).unwrap();
    let run = run.killed().await;
    assert!(!run.holds("a"), "restored without its journal");
    run.put("b");
    let checkpoint = run.writer.journal.checkpoint();
    let draft = AtomicFile::write(&run.file("s"), |out| {
        encode(&head(), std::iter::empty(), out)
    });
    run.purge("a").await;
    assert!(!run.file("s").exists());
    assert!(
        run.writer
            .journal
            .commit(&checkpoint, draft.unwrap())
            .is_err()
    );
    assert!(!run.file("s").exists() && !run.file("s.draft").exists());
}

#[tokio::test]
async fn another_origins_answers_are_refused() {
    let run = Run::first().await;
    run.put("a");
    run.writer.write().await;
    let Run {
        folder,
        cache,
        writer,
    } = run;
    drop((cache, writer));
    let run = Run::over(folder, "elsewhere").await;
    assert!(!run.holds("a"));
}

#[tokio::test]
async fn nothing_is_written_when_nothing_changed_and_two_never_share_a_file() {
    let run = Run::first().await;
    run.writer.write().await;
    assert!(!run.file("s").exists());
    run.put("a");
    run.writer.write().await;
    let mode = fs::metadata(run.file("s")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    fs::remove_file(run.file("s")).unwrap();
    run.writer.write().await;
    assert!(!run.file("s").exists());
    let config = Config {
        snapshot: Some(run.file("s").to_str().unwrap().to_owned()),
        ..Config::default()
    };
    assert!(
        SnapshotWriter::open(&config, "origin", &run.cache)
            .await
            .is_none()
    );
}
