//! What is read again while the gateway runs: certificates, clients, and the settings that can be
//! taken over.

use std::path::PathBuf;
use std::sync::Arc;

use arc_swap::ArcSwap;
use parking_lot::Mutex;

use crate::auth::{self, Authenticator, InvalidClients};
use crate::cache::Cache;
use crate::config::{Changes, Loaded, Settings};
use crate::credentials::Environment;
use crate::observability::logging::Level;
use crate::observability::metrics::Metrics;
use crate::reload::{FileWatcher, ReloadScheduler};
use crate::server::{BadFiles, Tls};
use crate::upstream::UpstreamError;

/// Reads what TLS needs, and again whenever it changes.
pub(super) async fn tls(
    settings: &Settings,
    metrics: &Arc<Metrics>,
    reload: &mut ReloadScheduler,
) -> Result<Option<Arc<Tls>>, BadFiles> {
    let files = settings.listen.tls.clone();
    let watcher = FileWatcher::begin("tls", move || files.files()).await;
    let tls = Tls::load(&settings.listen.tls)?;
    if let Some(tls) = tls.clone() {
        let counts = metrics.reloads("tls");
        metrics.certificate_served(tls.not_after());
        let metrics = Arc::clone(metrics);
        let load = move || {
            tls.reload()
                .inspect(|()| metrics.certificate_served(tls.not_after()))
        };
        reload.watch(watcher, load, counts);
    }
    Ok(tls)
}

/// Reads who may come in, and again whenever it changes.
pub(super) async fn authenticator(
    settings: &Settings,
    environment: &Environment,
    metrics: &Arc<Metrics>,
    reload: &mut ReloadScheduler,
) -> Result<Arc<Authenticator>, InvalidClients> {
    let journal = settings
        .api
        .writes
        .then(|| write_journal(settings, environment));
    let auth = Authenticator::open(&settings.auth, journal.as_deref(), Arc::clone(metrics))?;
    let auth = Arc::new(auth);
    if auth.is_required() {
        let files = Arc::clone(&auth);
        let watcher = FileWatcher::begin("clients", move || files.files()).await;
        // Which secrets' files to watch is known only now: what has changed since is read here.
        auth.reload()?;
        let reloaded = Arc::clone(&auth);
        let counts = metrics.reloads("clients");
        reload.watch(watcher, move || reloaded.reload(), counts);
    }
    Ok(auth)
}

/// The file that write nonces are journalled in.
fn write_journal(settings: &Settings, environment: &Environment) -> PathBuf {
    let state_folder = environment.get("STATE_DIRECTORY").map(String::as_str);
    auth::journal_path(
        settings.auth.write_journal.as_deref(),
        settings.cache.snapshot.as_deref(),
        state_folder,
        &settings.auth.clients_file,
    )
}

/// What takes settings over while it runs.
pub(super) struct LiveSettings {
    pub(super) cache: Arc<Cache<UpstreamError>>,
    pub(super) level: Option<Level>,
    /// The settings as they are shown.
    pub(super) shown: Arc<ArcSwap<String>>,
}

/// Reads the settings again whenever their file changes. Those that are not taken over while running
/// stay as they were, and are named in the log.
pub(super) async fn settings(
    loaded: &Loaded,
    live: LiveSettings,
    metrics: &Metrics,
    reload: &mut ReloadScheduler,
) {
    let started = loaded.clone();
    let current = Mutex::new(loaded.settings.clone());
    let files = loaded.files();
    let watcher = FileWatcher::begin("settings", move || files.clone()).await;
    let load = move || -> Result<(), String> {
        let new = started.again().map_err(|problems| problems.to_string())?;
        let mut current = current.lock();
        live.apply(&started.settings, &current, &new)?;
        *current = new.settings;
        Ok(())
    };
    reload.watch(watcher, load, metrics.reloads("settings"));
}

impl LiveSettings {
    /// Puts in force what can be; names the rest, in the log and where the settings are shown.
    fn apply(&self, started: &Settings, current: &Settings, new: &Loaded) -> Result<(), String> {
        let changed = Changes::between(current, &new.settings).live.join(", ");
        let waiting = Changes::between(started, &new.settings)
            .at_restart
            .join(", ");
        if let Some(level) = &self.level {
            level.set(&new.settings.log)?;
        }
        self.cache.set_policy(new.settings.freshness.clone());
        if !changed.is_empty() {
            tracing::info!(changed, "settings taken over");
        }
        let mut text = new.to_toml();
        if !waiting.is_empty() {
            tracing::warn!(waiting, "these settings take effect at the next start");
            text = format!("# At the next start, not before: {waiting}\n{text}");
        }
        self.shown.store(Arc::new(text));
        Ok(())
    }
}
