//! Settings become a running gateway: the one file that knows every part, and the order in which they
//! start and stop.

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::process::{
    DumpableBehavior, Resource, Rlimit, getrlimit, set_dumpable_behavior, setrlimit,
};
use serde_json::{Value, json};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::admin::{Admin, Health, Observe};
use crate::audit::{Audit, Scribe};
use crate::auth::{Authenticator, BadClients, Mode};
use crate::cache::{Cache, Keeper};
use crate::config::{Loaded, Settings, Shutdown};
use crate::credentials::{Environment, Provider};
use crate::gateway::{Gateway, GatewayParts};
use crate::metrics::Metrics;
use crate::reload::Watch;
use crate::server::{self, Address, BadFiles, BindError, Bound, Server, Service, Tls, bind};
use crate::telemetry::told;
use crate::transport::{self, BuildError};
use crate::upstream::{BadOrigin, Origin, Upstream, UpstreamError};

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
    snapshot: Option<Arc<Keeper<UpstreamError>>>,
}

/// The gateway cannot start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A listener's address is taken or not ours.
    #[error(transparent)]
    Bind(#[from] BindError),
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
    Clients(#[from] BadClients),
    /// The audit's file cannot be opened.
    #[error("audit.to: {0}")]
    Audit(io::Error),
    /// A file of TLS cannot be used.
    #[error(transparent)]
    Tls(#[from] BadFiles),
    /// The admin token cannot be read.
    #[error("admin.token_file: {0}")]
    Token(io::Error),
}

impl App {
    /// Binds, loads the credential, and accepts. A credential that is not there yet keeps the gateway
    /// from being ready, not from starting.
    ///
    /// # Errors
    /// [`StartError`]; nothing keeps running then.
    pub async fn start(loaded: &Loaded, environment: &Environment) -> Result<Self, StartError> {
        let settings = &loaded.settings;
        let sockets = Sockets::bind(settings)?;
        let metrics = Arc::new(Metrics::new());
        let calls = TaskTracker::new();
        let credentials = Arc::new(Provider::new(
            &settings.credentials,
            environment,
            Arc::clone(&metrics),
        ));
        let upstream = Arc::new(upstream(settings, &credentials, &metrics)?);
        let cache = Arc::new(Cache::new(
            &settings.cache,
            settings.freshness.clone(),
            Arc::clone(&metrics),
            calls.clone(),
        ));
        let origin = Origin::from_config(&settings.upstream)?;
        let snapshot = Keeper::open(&settings.cache, origin.host(), &cache).await;
        let (close, stop, services) = (
            CancellationToken::new(),
            CancellationToken::new(),
            TaskTracker::new(),
        );
        let tls = tls(settings, &metrics, &services, &stop).await?;
        let auth = authenticator(settings, &metrics, &services, &stop).await?;
        let (audit, scribe) = audit(settings, &metrics).await.map_err(StartError::Audit)?;
        let gateway = Arc::new(Gateway::new(
            settings.api.clone(),
            &settings.upstream.not_found_code,
            settings.listen.max_in_flight,
            GatewayParts {
                auth: Arc::clone(&auth),
                cache: Arc::clone(&cache),
                upstream: Arc::clone(&upstream),
                metrics: Arc::clone(&metrics),
                audit,
                tasks: calls.clone(),
            },
        ));
        let health = Arc::new(Health::default());
        let admin = Arc::new(Admin {
            started: Instant::now(),
            auth: Arc::clone(&auth),
            health: Arc::clone(&health),
            metrics: Arc::clone(&metrics),
            cache,
            upstream,
            credentials: Arc::clone(&credentials),
            listening: sockets.listening(),
            settings: loaded.to_toml(),
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
        let refresh = stop.clone();
        services.spawn(async move { credentials.run(refresh).await });
        if let Some(scribe) = scribe {
            services.spawn(scribe.run(stop.clone()));
        }
        if let Some(snapshot) = &snapshot {
            services.spawn(Arc::clone(snapshot).run(stop.clone()));
        }
        let (data, admin_address, observe) = sockets.addresses();
        let server = Server::new(
            gateway,
            settings.listen.clone(),
            tls,
            metrics.listener("data"),
        );
        services.spawn(Arc::clone(&server).accept(sockets.data, close.clone()));
        serve_beside(
            &services,
            &stop,
            Arc::clone(&admin),
            sockets.admin,
            metrics.listener("admin"),
        );
        if let Some(bound) = sockets.observe {
            serve_beside(
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
            snapshot,
        })
    }

    /// The addresses that are listened on, by name.
    #[must_use]
    pub fn listening(&self) -> Value {
        listening(&self.data, &self.admin, self.observe.as_ref())
    }

    /// Stops in order: not ready; still accepting for the lame-duck time; draining; calls under way;
    /// the last snapshot, when nothing can change any more.
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
        if timeout(LAST_CALLS, self.services.wait()).await.is_err() {
            tracing::warn!("listeners were slow to stop");
        }
        if let Some(snapshot) = self.snapshot {
            snapshot.close().await;
        }
        tracing::info!(connections_cut = left, "stopped");
    }
}

/// The audit and who writes it, where clients sign in and one is wanted.
async fn audit(
    settings: &Settings,
    metrics: &Arc<Metrics>,
) -> io::Result<(Option<Audit>, Option<Scribe>)> {
    if settings.auth.mode == Mode::None {
        return Ok((None, None));
    }
    let opened = Audit::open(&settings.audit, Arc::clone(metrics)).await?;
    Ok(opened.unzip())
}

/// How long a start waits for the credential before it goes on without.
const FIRST_CREDENTIAL: Duration = Duration::from_secs(2);

/// What calls under way get when nobody waits for them any more.
const LAST_CALLS: Duration = Duration::from_secs(1);

/// The sockets, bound before anything else starts.
struct Sockets {
    data: Bound,
    admin: Bound,
    observe: Option<Bound>,
}

impl Sockets {
    fn bind(settings: &Settings) -> Result<Self, StartError> {
        let backlog = settings.listen.backlog;
        let data = settings
            .listen
            .address()
            .ok_or(StartError::Address("listen.address"))?;
        let admin = settings
            .admin
            .listener()
            .ok_or(StartError::Address("admin.address"))?;
        let observe = match &settings.observe.address {
            Some(text) => {
                Some(Address::parse(text, None, 0).ok_or(StartError::Address("observe.address"))?)
            }
            None => None,
        };
        Ok(Self {
            data: bind(&data, backlog)?,
            admin: bind(&admin, backlog)?,
            observe: observe.map(|address| bind(&address, backlog)).transpose()?,
        })
    }

    fn addresses(&self) -> (Address, Address, Option<Address>) {
        (
            self.data.address().clone(),
            self.admin.address().clone(),
            self.observe.as_ref().map(|bound| bound.address().clone()),
        )
    }

    fn listening(&self) -> Value {
        listening(
            self.data.address(),
            self.admin.address(),
            self.observe.as_ref().map(Bound::address),
        )
    }
}

fn listening(data: &Address, admin: &Address, observe: Option<&Address>) -> Value {
    json!({
        "listen": data.to_string(),
        "admin": admin.to_string(),
        "observe": observe.map(ToString::to_string),
    })
}

/// Reads what TLS needs, and again whenever it changes.
async fn tls(
    settings: &Settings,
    metrics: &Metrics,
    services: &TaskTracker,
    stop: &CancellationToken,
) -> Result<Option<Arc<Tls>>, BadFiles> {
    let files = settings.listen.tls.clone();
    let watch = Watch::begin("tls", move || files.files()).await;
    let tls = Tls::load(&settings.listen.tls)?;
    if let Some(tls) = tls.clone() {
        let (interval, counts) = (settings.reload.interval.0, metrics.reloads("tls"));
        let load = move || tls.reload();
        services.spawn(watch.run(load, interval, counts, stop.clone()));
    }
    Ok(tls)
}

/// Reads who may come in, and again whenever it changes.
async fn authenticator(
    settings: &Settings,
    metrics: &Arc<Metrics>,
    services: &TaskTracker,
    stop: &CancellationToken,
) -> Result<Arc<Authenticator>, BadClients> {
    let auth = Arc::new(Authenticator::open(&settings.auth, Arc::clone(metrics))?);
    if auth.is_required() {
        let files = Arc::clone(&auth);
        let watch = Watch::begin("clients", move || files.files()).await;
        // Which secrets' files to watch is known only now: what has changed since is read here.
        auth.reload()?;
        let (interval, counts) = (settings.reload.interval.0, metrics.reloads("clients"));
        let reloaded = Arc::clone(&auth);
        let load = move || reloaded.reload();
        services.spawn(watch.run(load, interval, counts, stop.clone()));
    }
    Ok(auth)
}

/// Makes the way to the origin.
///
/// # Errors
/// When the origin's address or the CA file is unusable.
pub fn upstream(
    settings: &Settings,
    credentials: &Arc<Provider>,
    metrics: &Arc<Metrics>,
) -> Result<Upstream, StartError> {
    let origin = Origin::from_config(&settings.upstream)?;
    let transport = transport::connect(&settings.upstream.transport())?;
    Ok(Upstream::new(
        origin,
        settings.upstream.clone(),
        transport,
        Arc::clone(credentials),
        Arc::clone(metrics),
    ))
}

/// Serves a listener that needs no draining.
fn serve_beside<S: Service>(
    services: &TaskTracker,
    stop: &CancellationToken,
    service: Arc<S>,
    bound: Bound,
    metrics: crate::metrics::ListenerMetrics,
) {
    let config = server::Config {
        max_connections: 256,
        ..server::Config::default()
    };
    let server = Server::new(service, config, None, metrics);
    let stop = stop.clone();
    services.spawn(async move {
        Arc::clone(&server).accept(bound, stop).await;
        server.drain(LAST_CALLS).await;
    });
}

/// Keeps the kernel from writing this process's memory, and the secrets in it, to a core file, and
/// other processes of the same user from reading it.
pub fn forbid_core_dumps() {
    if let Err(error) = set_dumpable_behavior(DumpableBehavior::NotDumpable) {
        tracing::warn!(%error, "core dumps could not be forbidden: a crash may write secrets to disk");
    }
}

/// Lets this process open as many files as it may, and warns when that is too few for `connections`.
pub fn raise_file_limit(connections: u32) {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    if let Err(error) = setrlimit(
        Resource::Nofile,
        Rlimit {
            current: maximum,
            maximum,
        },
    ) {
        tracing::warn!(%error, "the limit of open files could not be raised");
    }
    let (granted, wanted) = (maximum.or(current), u64::from(connections) + 512);
    if granted.is_some_and(|granted| granted < wanted) {
        tracing::warn!(
            granted,
            wanted,
            "too few open files allowed for listen.max_connections: raise the limit (ulimit -n)"
        );
    }
}
