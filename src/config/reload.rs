//! Reloading of files when they change.
//!
//! Contents are polled and compared by digest. Notifications of the file system would be faster, but none comes
//! when a mounted ConfigMap or Secret swaps a symbolic link, or from a network file system. Each read has a
//! deadline, and a change is loaded once two reads agree, so neither hung storage nor a half-written file does harm.
//! A file that cannot be used changes nothing: the last good content stays in force. SIGHUP loads every file at
//! once, changed or not.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::digest::{SHA256, digest};
use futures_util::future::BoxFuture;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tokio::sync::watch;
use tokio::task::spawn_blocking;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::bounded_read;
use crate::observability::logging::{Condition, Conditions};
use crate::observability::metrics::ReloadMetrics;
use crate::units::HumanDuration;

/// The `[reload]` settings.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Time between two looks at the files for a change.
    pub interval: HumanDuration,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            interval: HumanDuration::secs(5),
        }
    }
}

/// Collects the parts whose files are watched, and then runs a task for each.
pub struct ReloadScheduler {
    interval: Duration,
    requests: watch::Sender<()>,
    stop: CancellationToken,
    watches: Vec<BoxFuture<'static, ()>>,
}

/// Requests reloads of the parts that run. Their watching ends when it is dropped.
#[derive(Debug)]
pub struct ReloadHandle(watch::Sender<()>);

impl ReloadScheduler {
    /// A scheduler without parts; each will look at its files every `interval`, until `stop`.
    #[must_use]
    pub fn new(interval: Duration, stop: CancellationToken) -> Self {
        Self {
            interval,
            requests: watch::Sender::new(()),
            stop,
            watches: Vec::new(),
        }
    }

    /// Adds a part: `load` is called when the watched files change or a reload is requested.
    pub fn watch<F, E>(
        &mut self,
        watcher: FileWatcher<F>,
        load: impl Fn() -> Result<(), E> + Send + Sync + 'static,
        metrics: ReloadMetrics,
    ) where
        F: Fn() -> Vec<PathBuf> + Send + Sync + 'static,
        E: fmt::Display + Send + 'static,
    {
        let requests = self.requests.subscribe();
        let watching = watcher.run(load, self.interval, requests, metrics, self.stop.clone());
        self.watches.push(Box::pin(watching));
    }

    /// Runs each part's watching in a task of its own.
    pub fn spawn(self, tasks: &TaskTracker) -> ReloadHandle {
        for watching in self.watches {
            tasks.spawn(watching);
        }
        ReloadHandle(self.requests)
    }
}

impl ReloadHandle {
    /// Has every part load its files now, changed or not.
    pub fn request(&self) {
        self.0.send_replace(());
    }
}

/// Files of one part, with the digests of their contents at the last look.
#[derive(Debug)]
pub struct FileWatcher<F> {
    part: &'static str,
    files: F,
    seen: Vec<FileDigest>,
}

/// File and SHA-256 digest of its content; no digest while it cannot be read.
type FileDigest = (PathBuf, Option<Vec<u8>>);

impl<F: Fn() -> Vec<PathBuf>> FileWatcher<F> {
    /// Takes the digests of the files as they are now. Called before their first load, it misses no change after it.
    /// `files` is called at each look, so that a file may name others.
    pub async fn begin(part: &'static str, files: F) -> Self {
        let seen = look(files()).await;
        Self { part, files, seen }
    }

    /// Looks at the files every `interval`, and calls `load` once for each change and each request (`requests`), until
    /// `stop` or until the handle is dropped. A failed load is repeated at each look, but logged and counted again
    /// only when its error differs.
    async fn run<E: fmt::Display + 'static>(
        mut self,
        load: impl Fn() -> Result<(), E> + Send + Sync + 'static,
        interval: Duration,
        mut requests: watch::Receiver<()>,
        metrics: ReloadMetrics,
        stop: CancellationToken,
    ) {
        let (load, mut failed) = (Arc::new(load), None);
        loop {
            let requested = tokio::select! {
                () = stop.cancelled() => return,
                received = requests.changed() => match received {
                    Ok(()) => true,
                    Err(_) => return,
                },
                () = sleep(interval) => false,
            };
            let changed = self.has_changed().await;
            if changed {
                self.wait_until_stable(interval.min(STABLE_PAUSE)).await;
            }
            // The failure may be about a file that one of the watched files names and that is not watched yet, so a
            // failed load is tried again though nothing changed.
            if !changed && !requested && failed.is_none() {
                continue;
            }
            let loading = Arc::clone(&load);
            let loaded = spawn_blocking(move || loading().map_err(|error| error.to_string())).await;
            let loaded = loaded.unwrap_or_else(|error| Err(error.to_string()));
            let error = loaded.as_ref().err().cloned();
            if changed || requested || error != failed {
                metrics.reloaded(&loaded);
                self.report(&loaded, &metrics.conditions);
            }
            failed = error;
        }
    }

    /// Waits until two looks agree, since a writer in place empties the file first. A file that never settles is loaded
    /// as it is after ten seconds.
    async fn wait_until_stable(&mut self, pause: Duration) {
        for _ in 0..MAX_CHECKS {
            sleep(pause).await;
            if !self.has_changed().await {
                return;
            }
        }
    }

    /// Compares the files with the last look. Digests are taken before the load, so that a change during the load
    /// counts as a change at the next look.
    async fn has_changed(&mut self) -> bool {
        let now = look((self.files)()).await;
        let changed = now != self.seen;
        self.seen = now;
        changed
    }

    fn report<E: fmt::Display>(&self, loaded: &Result<(), E>, conditions: &Conditions) {
        match loaded {
            Ok(()) => {
                tracing::info!(part = self.part, "reloaded");
                conditions.recovered(Condition::ReloadFails, self.part);
            }
            Err(error) => {
                conditions.occurred(Condition::ReloadFails, self.part, || error.to_string());
            }
        }
    }
}

async fn look(files: Vec<PathBuf>) -> Vec<FileDigest> {
    let look = |path: PathBuf| {
        let digest = digest_of(&path);
        (path, digest)
    };
    let looking = spawn_blocking(move || files.into_iter().map(look).collect());
    looking.await.unwrap_or_default()
}

fn digest_of(path: &Path) -> Option<Vec<u8>> {
    let content = bounded_read::read(path).ok()?;
    Some(digest(&SHA256, &content).as_ref().to_vec())
}

/// Pause between two looks that must agree; the interval, where that is shorter.
const STABLE_PAUSE: Duration = Duration::from_millis(250);
/// Number of looks at which a file may differ before it is loaded as it is.
const MAX_CHECKS: usize = 40;

#[cfg(test)]
mod tests;
