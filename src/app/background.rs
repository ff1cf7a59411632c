//! Tasks that run beside the requests, from before the first until after the last.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tokio::time::{Instant, MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::parts::Parts;
use crate::config::reload::{ReloadHandle, ReloadScheduler};
use crate::observability::history::{self, PastHour};
use crate::observability::logging::LogHandle;
use crate::observability::metrics::Metrics;
use crate::shared_cache::LogReader;
use crate::upstream::Upstream;

/// The running tasks, and the token that ends them. The listeners run among them.
pub(super) struct Background {
    pub(super) tasks: TaskTracker,
    pub(super) stop: CancellationToken,
    pub(super) reload: ReloadHandle,
}

/// Interval at which the log's recurring conditions are reported and lost lines counted.
const LOG_INTERVAL: Duration = Duration::from_secs(1);

impl Background {
    /// Spawns the watchers of files, the reader of the invalidation log, the renewal of the credential and
    /// of the keys of service accounts, the writer of snapshots, the upkeep of the log and the history. Each ends when `stop` is cancelled.
    pub(super) fn spawn(parts: &Parts, reload: ReloadScheduler, stop: CancellationToken) -> Self {
        let tasks = TaskTracker::new();
        let reload = reload.spawn(&tasks);
        if let Some(shared) = &parts.shared {
            let log_reader = LogReader::new(Arc::clone(shared), Arc::clone(&parts.cache));
            tasks.spawn(log_reader.run(stop.clone()));
            let (shared, stopped) = (Arc::clone(shared), stop.clone());
            tasks.spawn(async move { shared.announce(stopped).await });
        }
        let reported = (Arc::clone(&parts.metrics), Arc::clone(&parts.upstream));
        tasks.spawn(maintain_log(reported, parts.level.clone(), stop.clone()));
        let sampled = (Arc::clone(&parts.history), Arc::clone(&parts.metrics));
        tasks.spawn(keep_history(sampled, stop.clone()));
        let (credentials, stopped) = (Arc::clone(&parts.credentials), stop.clone());
        tasks.spawn(async move { credentials.run(stopped).await });
        let (auth, stopped) = (Arc::clone(&parts.auth), stop.clone());
        tasks.spawn(async move { auth.keep_keys(stopped).await });
        if let Some(snapshot) = &parts.snapshot {
            tasks.spawn(Arc::clone(snapshot).run(stop.clone()));
        }
        Self {
            tasks,
            stop,
            reload,
        }
    }
}

/// Adds a point to the history each ten seconds, until `stop`.
async fn keep_history((history, metrics): (Arc<PastHour>, Arc<Metrics>), stop: CancellationToken) {
    let mut ticks = interval(history::INTERVAL);
    // After a suspension one long point, not many empty ones.
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    while stop.run_until_cancelled(ticks.tick()).await.is_some() {
        history.sample(&metrics, Instant::now(), Timestamp::now());
    }
}

/// Writes the log lines that are due by time alone, and counts the lines that were lost, until `stop`.
async fn maintain_log(
    (metrics, upstream): (Arc<Metrics>, Arc<Upstream>),
    level: Option<LogHandle>,
    stop: CancellationToken,
) {
    let mut ticks = interval(LOG_INTERVAL);
    while stop.run_until_cancelled(ticks.tick()).await.is_some() {
        upstream.report_fleet();
        metrics.conditions.tick(Instant::now());
        let lost = level.as_ref().map_or(0, LogHandle::lost);
        metrics
            .log_lost
            .inc_by(lost.saturating_sub(metrics.log_lost.get()));
    }
}
