//! A gateway from its settings: builds the parts, runs them and stops them in order. The one module that
//! names every part.
//!
//! 1. The sockets are bound, so that a taken port is reported before anything else happens.
//! 2. `Parts` are built. Nothing runs yet, so an error leaves nothing behind.
//! 3. `Background` tasks run: reloads, the invalidation log, the credential, snapshots.
//! 4. `Listeners` accept connections.
//!
//! [`App::stop`] goes the other way.

mod background;
mod error;
mod limits;
mod listeners;
mod parts;
mod reloading;
mod sockets;

pub use error::StartError;
pub use limits::{connections_allowed, forbid_core_dumps, raise_file_limit};
pub use parts::upstream;
pub use sockets::Sockets;

use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use tokio::task::spawn_blocking;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::config::reload::ReloadScheduler;
use crate::config::{Loaded, Shutdown};
use crate::environment::Environment;
use crate::observability::logging::LogHandle;
use crate::observability::metrics::Metrics;
use crate::server::Address;
use background::Background;
use listeners::Listeners;
use parts::Parts;
use sockets::listening;

/// A running gateway. Dropping it stops nothing: call [`stop`](Self::stop).
pub struct App {
    /// Address of the data port, as bound.
    pub data: Address,
    /// Address of the admin listener, as bound.
    pub admin: Address,
    /// Counters of this gateway.
    pub metrics: Arc<Metrics>,
    observe: Option<Address>,
    parts: Parts,
    background: Background,
    listeners: Listeners,
    shutdown: Shutdown,
}

/// Resources that a process of its own hands to its gateway. Tests and the demo, which share a process, take
/// the default.
#[derive(Default)]
pub struct Process {
    /// Handle of the process's log, by which a reload changes `log.level`.
    pub level: Option<LogHandle>,
    /// Sockets that were bound before the start, or passed on by systemd.
    pub sockets: Option<Sockets>,
    /// Connections that the limit of open files leaves to the data port; `None` for `listen.max_connections`.
    pub max_connections: Option<u32>,
}

/// Time that a start waits for the shared cache before it continues without it.
const FIRST_CONNECTION: Duration = Duration::from_millis(500);

/// Time that running calls, and then the background tasks, get at a shutdown once no client waits for them.
const LAST_CALLS: Duration = Duration::from_secs(1);

/// Time for the audit's last records to be written.
const LAST_RECORDS: Duration = Duration::from_secs(1);

impl App {
    /// Starts a gateway: binds, builds, loads the credential, and accepts. A missing credential, key or shared
    /// cache keeps it from being ready, or from sharing, but not from starting.
    ///
    /// # Errors
    /// [`StartError`]; nothing keeps running then.
    pub async fn start(
        loaded: &Loaded,
        environment: &Environment,
        process: Process,
    ) -> Result<Self, StartError> {
        let settings = &loaded.settings;
        let sockets = match process.sockets {
            Some(sockets) => sockets,
            None => Sockets::bind(settings, None)?,
        };
        let (data, admin, observe) = sockets.addresses();
        let stop = CancellationToken::new();
        let mut reload = ReloadScheduler::new(settings.reload.interval.0, stop.clone());
        let parts = Parts::build(loaded, environment, process.level, &mut reload).await?;
        tokio::join!(parts.load_first_credential(), parts.load_first_keys());
        parts.check_writes(settings).await?;
        let background = Background::spawn(&parts, reload, stop);
        if let Some(shared) = &parts.shared {
            // The first requests then find what the fleet holds, instead of asking the origin for it.
            shared.ready(FIRST_CONNECTION).await;
        }
        let gateway = parts.gateway(settings);
        let walks = Arc::clone(&gateway).walk_catalogue(background.stop.clone());
        background.tasks.spawn(walks);
        let listeners = Listeners::serve(
            &parts,
            gateway,
            settings,
            sockets,
            process.max_connections,
            &background,
        );
        tracing::info!(address = %data, admin = %admin, "listening");
        Ok(Self {
            data,
            admin,
            metrics: Arc::clone(&parts.metrics),
            observe,
            parts,
            background,
            listeners,
            shutdown: settings.shutdown.clone(),
        })
    }

    /// The bound addresses by listener, as in `/status` and in the ports file.
    #[must_use]
    pub fn listening(&self) -> Value {
        listening(&self.data, &self.admin, self.observe.as_ref())
    }

    /// Loads settings, clients and certificates again. A file that cannot be used is logged and counted in
    /// `pai_gateway_reloads_total`, and changes nothing.
    pub fn reload(&self) {
        tracing::info!("reload requested");
        self.background.reload.request();
    }

    /// Stops in order, so that no request, record or purge is lost: readiness falls; the data port still
    /// accepts for the lame-duck time; it drains; calls under way end; then the background tasks and the last
    /// spans; the last snapshot, when nothing can change the cache any more; the audit; the write journal.
    pub async fn stop(self) {
        let (parts, shutdown) = (&self.parts, &self.shutdown);
        // Kubernetes takes seconds to stop routing requests here; until then new connections are still served.
        parts.health.stop();
        tracing::info!(lame_duck = %shutdown.lame_duck, "stopping: not ready, still accepting");
        tokio::time::sleep(shutdown.lame_duck.0).await;
        self.listeners.close.cancel();
        let connections_cut = self.listeners.data.drain(shutdown.drain.0).await;
        parts.calls.close();
        if timeout(LAST_CALLS, parts.calls.wait()).await.is_err() {
            tracing::warn!("calls to the origin were still under way");
        }
        // Probes and metrics were answered up to here; purges and invalidations were applied.
        self.background.stop.cancel();
        self.background.tasks.close();
        let tasks = async {
            if timeout(LAST_CALLS, self.background.tasks.wait())
                .await
                .is_err()
            {
                tracing::warn!("background tasks or listeners were slow to stop");
            }
        };
        let traces = async {
            if let Some(traces) = &parts.traces {
                traces.stop().await;
            }
        };
        tokio::join!(tasks, traces);
        // After the calls and the invalidation log: a purge that came later would be missing in it.
        if let Some(snapshot) = parts.snapshot.clone() {
            snapshot.close().await;
        }
        if let Some(audit) = parts.audit.clone() {
            let last = spawn_blocking(move || audit.flush(LAST_RECORDS));
            if last.await.is_err() {
                tracing::error!("the last records of the audit may be missing");
            }
        }
        parts.auth.close().await;
        tracing::info!(connections_cut, "stopped");
    }
}
