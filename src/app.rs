//! Settings become a running gateway: the one file that knows every part, and the order in which they
//! start and stop.

mod limits;
mod reloading;
mod sockets;

pub use limits::{connections_allowed, forbid_core_dumps, raise_file_limit};
pub use sockets::Sockets;

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use serde_json::Value;
use tokio::task::spawn_blocking;
use tokio::time::{interval, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::admin::{Admin, Health, Observe};
use crate::auth::{Authenticator, InvalidClients, Mode};
use crate::cache::{Cache, Keeper};
use crate::config::{Loaded, Settings, Shutdown};
use crate::credentials::{CredentialProvider, Environment};
use crate::gateway::{Gateway, GatewayParts};
use crate::observability::access_log::Access;
use crate::observability::audit::Audit;
use crate::observability::logging::{Level, told};
use crate::observability::metrics::Metrics;
use crate::observability::top_images::Ranking;
use crate::observability::traces::{BadTraces, Traces};
use crate::reload::ReloadScheduler;
use crate::response::Budget;
use crate::server::{self, Address, BadFiles, BindError, Bound, Bounds, Policy, Server, Service};
use crate::shared_cache::{LogReader, SharedCache};
use crate::transport::{self, BuildError};
use crate::units::HumanDuration;
use crate::upstream::{self, BadOrigin, Origin, Upstream, UpstreamError};
use reloading::LiveSettings;
use sockets::listening;

/// A gateway that runs.
pub struct App {
    /// Where it listens.
    pub data: Address,
    /// Where its admin listener is.
    pub admin: Address,
    /// What it counts.
    pub metrics: Arc<Metrics>,
    observe: Option<Address>,
    health: Arc<Health>,
    gateway: Arc<Server<Gateway>>,
    shutdown: Shutdown,
    /// Stops the accepting of the data port.
    close: CancellationToken,
    /// Stops everything else.
    stop: CancellationToken,
    /// Fetches and writes.
    calls: TaskTracker,
    /// Listeners and refreshers.
    services: TaskTracker,
    scheduler: ReloadScheduler,
    snapshot: Option<Arc<Keeper<UpstreamError>>>,
    auth: Arc<Authenticator>,
    traces: Option<Arc<Traces>>,
    audit: Option<Arc<Audit>>,
}

/// What only a process of its own has.
#[derive(Default)]
pub struct Process {
    /// Its log's level.
    pub level: Option<Level>,
    /// Its sockets, bound before it started.
    pub sockets: Option<Sockets>,
    /// Connections that its limit of open files leaves to the data port; `None` for what the settings say.
    pub max_connections: Option<u32>,
}

/// The gateway cannot start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A listener's address is taken or not ours.
    #[error("{setting}: {cause}; {}", .cause.remedy(.setting))]
    Bind {
        /// The setting that names it.
        setting: &'static str,
        /// What the kernel said.
        cause: BindError,
    },
    /// A setting that names an address is no address.
    #[error("{0} is no address to listen on")]
    Address(&'static str),
    /// The origin's address is none.
    #[error("upstream: {0}")]
    Origin(#[from] BadOrigin),
    /// The client towards the origin cannot be made.
    #[error("upstream: {0}")]
    Client(#[from] BuildError),
    /// The clients' file cannot be used.
    #[error("auth.clients_file: {0}")]
    Clients(#[from] InvalidClients),
    /// The audit's file cannot be opened.
    #[error("audit.to: {0}")]
    Audit(io::Error),
    /// A file of TLS cannot be used.
    #[error(transparent)]
    Tls(#[from] BadFiles),
    /// The socket that was passed on is open to other machines, and nobody would have to sign in.
    #[error(
        "{0} was passed on to listen on, where others than this machine can reach it, and auth.mode is \"none\": \
         set auth.mode = \"required\", or pass on a socket on loopback or a Unix socket"
    )]
    Open(Address),
    /// Traces cannot be sent as the settings say.
    #[error("traces: {0}")]
    Traces(#[from] BadTraces),
    /// The admin token cannot be read.
    #[error("admin.token_file: {0}")]
    Token(io::Error),
    /// Writes cannot be authorized behind this parent gateway.
    #[error(
        "api.writes: a write is authorized on the image as the origin has it now, which a parent gateway asks for only \
         on behalf of a key with the permission refresh: grant get and refresh to this gateway's key in the parent's \
         clients file, or set api.writes = false"
    )]
    WritesUnauthorizable,
}

impl App {
    /// Binds, loads the credential, and accepts. A credential that is not there yet keeps the gateway
    /// from being ready, not from starting.
    ///
    /// # Errors
    /// [`StartError`]; nothing keeps running then.
    pub async fn start(
        loaded: &Loaded,
        environment: &Environment,
        process: Process,
    ) -> Result<Self, StartError> {
        let settings = &loaded.settings;
        let Process {
            level,
            sockets,
            max_connections,
        } = process;
        let sockets = match sockets {
            Some(sockets) => sockets,
            None => Sockets::bind(settings, None)?,
        };
        let metrics = Arc::new(Metrics::new());
        let calls = TaskTracker::new();
        let credentials = Arc::new(CredentialProvider::new(
            &settings.credentials,
            environment,
            Arc::clone(&metrics),
        ));
        if settings.api.writes {
            metrics.expose_writes();
        }
        let upstream = Arc::new(upstream(settings, environment, &credentials, &metrics)?);
        let cache = Arc::new(Cache::new(
            &settings.cache,
            settings.freshness.clone(),
            Arc::clone(&metrics),
            calls.clone(),
        ));
        let origin = Origin::from_config(&settings.upstream)?;
        let shared = SharedCache::from_config(&settings.shared_cache, origin.host(), &metrics);
        let snapshot = Keeper::open(&settings.cache, origin.host(), &cache).await;
        let (close, stop, services) = (
            CancellationToken::new(),
            CancellationToken::new(),
            TaskTracker::new(),
        );
        let scheduler = ReloadScheduler::new(settings.reload.interval.0, stop.clone());
        let tls = reloading::tls(settings, &metrics, &services, &scheduler).await?;
        let auth = reloading::authenticator(settings, environment, &metrics, &services, &scheduler)
            .await?;
        let shown = Arc::new(ArcSwap::from_pointee(loaded.to_toml()));
        let live = LiveSettings {
            cache: Arc::clone(&cache),
            level: level.clone(),
            shown: Arc::clone(&shown),
        };
        reloading::settings(loaded, live, &metrics, &services, &scheduler).await;
        let audit = Audit::open(&settings.audit, Arc::clone(&metrics))
            .map_err(StartError::Audit)?
            .map(Arc::new);
        let traces = Traces::open(&settings.traces, environment, &metrics)?.map(Arc::new);
        let ranking = Arc::new(Ranking::new());
        let budget = Budget::new(settings.listen.max_buffered);
        let gateway = Gateway::new(
            settings.api.clone(),
            settings.resolve.clone(),
            &settings.upstream.not_found_code,
            settings.listen.max_in_flight,
            GatewayParts {
                budget: budget.clone(),
                auth: Arc::clone(&auth),
                cache: Arc::clone(&cache),
                shared: shared.clone(),
                upstream: Arc::clone(&upstream),
                metrics: Arc::clone(&metrics),
                ranking: Arc::clone(&ranking),
                audit: audit.clone(),
                access: Access::from_config(&settings.log),
                traces: traces.clone(),
                tasks: calls.clone(),
            },
        );
        if let Some(shared) = shared.clone() {
            let log_reader = LogReader::new(shared, Arc::clone(&cache));
            services.spawn(log_reader.run(stop.clone()));
        }
        let health = Arc::new(Health::default());
        let asked = Arc::clone(&upstream);
        let admin = Arc::new(Admin {
            started: Instant::now(),
            audit: audit.clone(),
            auth: Arc::clone(&auth),
            health: Arc::clone(&health),
            metrics: Arc::clone(&metrics),
            ranking,
            cache,
            shared: shared.clone(),
            upstream,
            credentials: Arc::clone(&credentials),
            listening: sockets.listening(),
            settings: shown,
            token: settings.admin.token().map_err(StartError::Token)?,
        });
        if let Ok(Err(errors)) = timeout(FIRST_CREDENTIAL, credentials.load()).await {
            for error in errors {
                tracing::warn!(
                    error = told(&error),
                    "no credential from here; not ready until there is one"
                );
            }
        }
        check_writes(settings, &asked).await?;
        if let Some(shared) = &shared {
            shared.ready(FIRST_CONNECTION).await;
        }
        services.spawn(report(Arc::clone(&metrics), level.clone(), stop.clone()));
        let refresh = stop.clone();
        services.spawn(async move { credentials.run(refresh).await });
        if let Some(snapshot) = &snapshot {
            services.spawn(Arc::clone(snapshot).run(stop.clone()));
        }
        let (data, admin_address, observe) = sockets.addresses();
        let mut listen = settings.listen.clone();
        listen.max_connections = max_connections.unwrap_or(listen.max_connections);
        let policy = match settings.auth.mode {
            Mode::None => Policy::Refuse,
            Mode::Required => Policy::Share,
        };
        let counts = metrics.listener("data");
        let server = Server::bounded(gateway, listen, tls, counts, Bounds { policy, budget });
        services.spawn(Arc::clone(&server).accept(sockets.data, close.clone()));
        serve_secondary(
            &services,
            &stop,
            Arc::clone(&admin),
            sockets.admin,
            metrics.listener("admin"),
        );
        if let Some(bound) = sockets.observe {
            serve_secondary(
                &services,
                &stop,
                Arc::new(Observe(admin)),
                bound,
                metrics.listener("observe"),
            );
        }
        tracing::info!(address = %data, admin = %admin_address, "listening");
        let shutdown = settings.shutdown.clone();
        Ok(Self {
            data,
            admin: admin_address,
            metrics,
            observe,
            health,
            gateway: server,
            shutdown,
            close,
            stop,
            calls,
            services,
            scheduler,
            snapshot,
            auth,
            traces,
            audit,
        })
    }

    /// The addresses that are listened on, by name.
    #[must_use]
    pub fn listening(&self) -> Value {
        listening(&self.data, &self.admin, self.observe.as_ref())
    }

    /// Reads again what can be read again: settings, clients, certificates. What cannot be used is told
    /// of in the log and by `reloads_total`, and changes nothing.
    pub fn reload(&self) {
        tracing::info!("told to reload");
        self.scheduler.request_reload();
    }

    /// Stops in order: not ready; still accepting for the lame-duck time; draining; calls under way;
    /// the last spans; the last snapshot, when nothing can change any more.
    pub async fn stop(self) {
        self.health.stop();
        tracing::info!(lame_duck = %self.shutdown.lame_duck, "stopping: not ready, still accepting");
        tokio::time::sleep(self.shutdown.lame_duck.0).await;
        self.close.cancel();
        let left = self.gateway.drain(self.shutdown.drain.0).await;
        self.calls.close();
        if timeout(LAST_CALLS, self.calls.wait()).await.is_err() {
            tracing::warn!("calls to the origin were still under way");
        }
        self.stop.cancel();
        self.services.close();
        let services = async {
            if timeout(LAST_CALLS, self.services.wait()).await.is_err() {
                tracing::warn!("listeners were slow to stop");
            }
        };
        let traces = async {
            if let Some(traces) = &self.traces {
                traces.stop().await;
            }
        };
        tokio::join!(services, traces);
        if let Some(snapshot) = self.snapshot {
            snapshot.close().await;
        }
        if let Some(audit) = self.audit {
            let last = spawn_blocking(move || audit.flush(LAST_RECORDS));
            if last.await.is_err() {
                tracing::error!("the last records of the audit may be missing");
            }
        }
        self.auth.close().await;
        tracing::info!(connections_cut = left, "stopped");
    }
}

/// Time for the audit's last records to be written.
const LAST_RECORDS: Duration = Duration::from_secs(1);

/// Refuses `api.writes` behind a parent gateway that answers this one from memory, where clients sign in.
/// A parent that does not answer keeps nothing from starting: each write finds out for itself.
async fn check_writes(settings: &Settings, upstream: &Upstream) -> Result<(), StartError> {
    let is_judged = settings.api.writes && settings.auth.mode == Mode::Required;
    if !is_judged || upstream.kind() != upstream::Kind::Gateway {
        return Ok(());
    }
    match timeout(FIRST_ANSWER, upstream.may_refresh()).await {
        Ok(Some(true)) => Ok(()),
        Ok(Some(false)) => Err(StartError::WritesUnauthorizable),
        Ok(None) | Err(_) => {
            tracing::warn!(
                "the parent gateway does not say whether this gateway's key may refresh there, which writes need"
            );
            Ok(())
        }
    }
}

/// How long a start waits for a parent gateway's answer before it goes on without.
const FIRST_ANSWER: Duration = Duration::from_secs(2);

/// How long a start waits for the credential before it goes on without.
const FIRST_CREDENTIAL: Duration = Duration::from_secs(2);

/// How long a start waits for the shared tier before it goes on without.
const FIRST_CONNECTION: Duration = Duration::from_millis(500);

/// What calls under way get when nobody waits for them any more.
const LAST_CALLS: Duration = Duration::from_secs(1);

/// Connections on each of the admin and observe listeners: a few probes, scrapers and browsers.
const SECONDARY_CONNECTIONS: u32 = 64;

/// Idle time of such a connection; whoever asks there again opens another.
const SECONDARY_IDLE: HumanDuration = HumanDuration::secs(10);

/// Makes the way to the origin.
///
/// # Errors
/// When the origin's address, the CA file or the proxy is unusable.
pub fn upstream(
    settings: &Settings,
    environment: &Environment,
    credentials: &Arc<CredentialProvider>,
    metrics: &Arc<Metrics>,
) -> Result<Upstream, StartError> {
    let origin = Origin::from_config(&settings.upstream)?;
    let transport = transport::connect(&settings.upstream.transport(environment)?)?;
    Ok(Upstream::new(
        origin,
        settings.upstream.clone(),
        transport,
        Arc::clone(credentials),
        Arc::clone(metrics),
    ))
}

/// Serves a listener that needs no draining.
fn serve_secondary<S: Service>(
    services: &TaskTracker,
    stop: &CancellationToken,
    service: Arc<S>,
    bound: Bound,
    metrics: crate::observability::metrics::ListenerMetrics,
) {
    let config = server::Config {
        max_connections: SECONDARY_CONNECTIONS,
        idle_timeout: SECONDARY_IDLE,
        ..server::Config::default()
    };
    let bounds = Bounds {
        policy: Policy::Idlest,
        budget: Budget::new(config.max_buffered),
    };
    let server = Server::bounded(service, config, None, metrics, bounds);
    let stop = stop.clone();
    services.spawn(async move {
        Arc::clone(&server).accept(bound, stop).await;
        server.drain(LAST_CALLS).await;
    });
}

/// Writes the log's lines that are due by time alone, and counts those that were lost, until `stop`.
async fn report(metrics: Arc<Metrics>, level: Option<Level>, stop: CancellationToken) {
    let mut ticks = interval(REPORT);
    while stop.run_until_cancelled(ticks.tick()).await.is_some() {
        metrics.conditions.tick(tokio::time::Instant::now());
        let lost = level.as_ref().map_or(0, Level::lost);
        metrics
            .log_lost
            .inc_by(lost.saturating_sub(metrics.log_lost.get()));
    }
}

/// How often the log is looked after.
const REPORT: Duration = Duration::from_secs(1);
