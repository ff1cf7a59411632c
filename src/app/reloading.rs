//! Parts that reload their files while the gateway runs: certificates, clients, and some of the settings.
//!
//! Each begins to watch before it loads, so that a change in between is noticed at the first check.

use std::path::PathBuf;
use std::sync::Arc;

use arc_swap::ArcSwap;
use parking_lot::Mutex;

use crate::auth::{self, Authenticator, InvalidClients};
use crate::cache::Cache;
use crate::config::reload::{FileWatcher, ReloadScheduler};
use crate::config::{Changes, Loaded, Settings};
use crate::environment::Environment;
use crate::observability::logging::LogHandle;
use crate::observability::metrics::Metrics;
use crate::server::{Tls, TlsFileErrors};
use crate::upstream::UpstreamError;

/// Loads the certificate and key of the data port, and watches their files. `None` where TLS is off.
///
/// # Errors
/// The files that cannot be used, all of them. At a reload such files change nothing.
pub(super) async fn tls(
    settings: &Settings,
    metrics: &Arc<Metrics>,
    reload: &mut ReloadScheduler,
) -> Result<Option<Arc<Tls>>, TlsFileErrors> {
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

/// Loads the clients, and watches the clients file and the files of secrets that it names.
///
/// # Errors
/// The problems of the clients file, all of them. At a reload such a file changes nothing.
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
        // Only the loaded clients file tells which files of secrets to watch. One of them may have changed between
        // the first load and the watcher's first look, hence a second load.
        auth.reload()?;
        let reloaded = Arc::clone(&auth);
        let counts = metrics.reloads("clients");
        reload.watch(watcher, move || reloaded.reload(), counts);
    }
    Ok(auth)
}

/// Returns the path of the journal of write nonces: set, or beside the snapshot, in systemd's state folder, or
/// beside the clients file.
fn write_journal(settings: &Settings, environment: &Environment) -> PathBuf {
    let state_folder = environment.get("STATE_DIRECTORY").map(String::as_str);
    auth::journal_path(
        settings.auth.write_journal.as_deref(),
        settings.cache.snapshot.as_deref(),
        state_folder,
        &settings.auth.clients_file,
    )
}

/// Parts that a changed settings file affects without a restart.
pub(super) struct LiveSettings {
    pub(super) cache: Arc<Cache<UpstreamError>>,
    pub(super) level: Option<LogHandle>,
    /// Effective settings in TOML, as `/config` shows them.
    pub(super) shown: Arc<ArcSwap<String>>,
}

/// Watches the settings file, and applies what a reload can apply. Other settings that changed keep their value
/// until the next start, and are named in the log and in `/config`.
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
    /// Applies freshness and log level; names the other changes, in the log and in `/config`.
    ///
    /// # Errors
    /// A log filter that cannot be parsed; nothing is applied then.
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
            tracing::info!(changed, "settings applied");
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
