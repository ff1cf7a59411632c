//! Builds the parts of a gateway from its settings. Nothing runs yet: an error here leaves no task and no
//! open listener behind.

use std::sync::Arc;
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use secrecy::SecretString;
use serde_json::Value;
use tokio::time::timeout;
use tokio_util::task::TaskTracker;

use super::StartError;
use super::reloading::{self, LiveSettings};
use crate::admin::{Admin, GatewayInstance, Health};
use crate::auth::{Authenticator, Mode};
use crate::body::Budget;
use crate::cache::{Cache, SnapshotWriter};
use crate::config::reload::ReloadScheduler;
use crate::config::{Loaded, Settings};
use crate::credentials::CredentialProvider;
use crate::environment::Environment;
use crate::error_chain::error_chain;
use crate::gateway::{Gateway, GatewayParts};
use crate::observability::access_log::AccessLog;
use crate::observability::audit::AuditWriter;
use crate::observability::history::PastHour;
use crate::observability::logging::LogHandle;
use crate::observability::metrics::Metrics;
use crate::observability::top_images::TopImages;
use crate::observability::traces::Traces;
use crate::server::Tls;
use crate::shared_cache::SharedCache;
use crate::transport;
use crate::upstream::{self, Origin, Upstream, UpstreamError};

/// Every part of a gateway, built and connected to the others but not running. The listeners, the background
/// tasks and the stop order take from here what they need.
pub(super) struct Parts {
    pub(super) started: Instant,
    pub(super) metrics: Arc<Metrics>,
    pub(super) level: Option<LogHandle>,
    pub(super) health: Arc<Health>,
    /// Fetches and writes under way, which outlive the request that began them.
    pub(super) calls: TaskTracker,
    pub(super) credentials: Arc<CredentialProvider>,
    pub(super) upstream: Arc<Upstream>,
    pub(super) cache: Arc<Cache<UpstreamError>>,
    pub(super) shared: Option<Arc<SharedCache>>,
    pub(super) snapshot: Option<Arc<SnapshotWriter<UpstreamError>>>,
    pub(super) tls: Option<Arc<Tls>>,
    pub(super) auth: Arc<Authenticator>,
    pub(super) audit: Option<Arc<AuditWriter>>,
    pub(super) traces: Option<Arc<Traces>>,
    pub(super) top_images: Arc<TopImages>,
    pub(super) history: Arc<PastHour>,
    instance: GatewayInstance,
    /// Memory for responses that clients have not taken, over all data connections.
    pub(super) budget: Budget,
    admin_token: Option<SecretString>,
    /// The effective settings in TOML, as `/config` shows them.
    settings_text: Arc<ArcSwap<String>>,
}

/// Time that a start waits for the first credential, and for the first keys, before it continues without.
const FIRST_CREDENTIAL: Duration = Duration::from_secs(2);

/// Time that a start waits for a parent gateway's answer before it continues without one.
const FIRST_ANSWER: Duration = Duration::from_secs(2);

impl Parts {
    /// Builds every part, fills the cache from its snapshot, and hands the files to watch to `reload`.
    ///
    /// # Errors
    /// [`StartError`] for the first part that its settings, or the files they name, keep from working.
    pub(super) async fn build(
        loaded: &Loaded,
        environment: &Environment,
        level: Option<LogHandle>,
        reload: &mut ReloadScheduler,
    ) -> Result<Self, StartError> {
        let (settings, started) = (&loaded.settings, Instant::now());
        let metrics = Arc::new(Metrics::new());
        if settings.api.writes {
            metrics.expose_writes();
        }
        let calls = TaskTracker::new();
        let credentials = Arc::new(CredentialProvider::new(
            &settings.credentials,
            environment,
            Arc::clone(&metrics),
        ));
        let (upstream, shared) = origin(settings, environment, &credentials, &metrics)?;
        let cache = cache(settings, &metrics, &calls);
        let origin = upstream.origin().host();
        // Before anything reads the cache: entries are restored, and purges journalled from here on.
        let snapshot = SnapshotWriter::open(&settings.cache, origin, &cache).await;
        let tls = reloading::tls(settings, &metrics, reload).await?;
        let auth = reloading::authenticator(settings, environment, &metrics, reload).await?;
        let settings_text = Arc::new(ArcSwap::from_pointee(loaded.to_toml()));
        let live = LiveSettings {
            cache: Arc::clone(&cache),
            level: level.clone(),
            shown: Arc::clone(&settings_text),
        };
        reloading::settings(loaded, live, &metrics, reload).await;
        let audit = AuditWriter::open(&settings.audit, Arc::clone(&metrics));
        Ok(Self {
            audit: audit.map_err(StartError::Audit)?.map(Arc::new),
            traces: Traces::open(&settings.traces, environment, &metrics)?.map(Arc::new),
            admin_token: settings.admin.token().map_err(StartError::Token)?,
            health: Arc::new(Health::default()),
            top_images: Arc::new(TopImages::new()),
            history: Arc::new(PastHour::default()),
            instance: instance(settings, environment, &upstream),
            budget: Budget::new(settings.listen.max_buffered),
            started,
            metrics,
            level,
            calls,
            credentials,
            upstream,
            cache,
            shared,
            snapshot,
            tls,
            auth,
            settings_text,
        })
    }

    /// Loads the first credential. Failures are logged, one line for each source: a gateway without a
    /// credential starts, and is not ready until it has one.
    pub(super) async fn load_first_credential(&self) {
        if let Ok(Err(errors)) = timeout(FIRST_CREDENTIAL, self.credentials.load()).await {
            for error in errors {
                tracing::warn!(
                    error = error_chain(&error),
                    "no credential from this source; not ready until one has a credential"
                );
            }
        }
    }

    /// Loads the first keys that verify service accounts' tokens. A gateway that has none starts, and is not ready
    /// until it has; the log says why.
    pub(super) async fn load_first_keys(&self) {
        if let Some(accounts) = self.auth.service_accounts() {
            // A failure is logged as a condition, and the background tries again.
            let _ = timeout(FIRST_CREDENTIAL, accounts.load()).await;
        }
    }

    /// Refuses `api.writes` behind a parent gateway that answers this one from memory, where clients authenticate.
    /// A parent that does not answer keeps nothing from starting: each write finds out for itself.
    ///
    /// # Errors
    /// [`StartError::WritesUnauthorizable`] when the parent says that this gateway's key may not refresh.
    pub(super) async fn check_writes(&self, settings: &Settings) -> Result<(), StartError> {
        let authorizes_writes = settings.api.writes && settings.auth.mode == Mode::Required;
        if !authorizes_writes || self.upstream.kind() != upstream::UpstreamKind::Gateway {
            return Ok(());
        }
        match timeout(FIRST_ANSWER, self.upstream.may_refresh()).await {
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

    /// Builds the service of the data port from the parts.
    pub(super) fn gateway(&self, settings: &Settings) -> Arc<Gateway> {
        Gateway::new(
            settings.api.clone(),
            settings.resolve.clone(),
            &settings.upstream.not_found_code,
            settings.listen.max_in_flight,
            GatewayParts {
                budget: self.budget.clone(),
                auth: Arc::clone(&self.auth),
                cache: Arc::clone(&self.cache),
                shared: self.shared.clone(),
                upstream: Arc::clone(&self.upstream),
                metrics: Arc::clone(&self.metrics),
                top_images: Arc::clone(&self.top_images),
                audit: self.audit.clone(),
                access: AccessLog::from_config(&settings.log),
                traces: self.traces.clone(),
                tasks: self.calls.clone(),
            },
        )
    }

    /// Builds the service of the admin listener; `listening` holds the bound addresses, for `/status`.
    pub(super) fn admin(&self, listening: Value) -> Arc<Admin> {
        Arc::new(Admin {
            started: self.started,
            audit: self.audit.clone(),
            auth: Arc::clone(&self.auth),
            health: Arc::clone(&self.health),
            metrics: Arc::clone(&self.metrics),
            history: Arc::clone(&self.history),
            instance: self.instance.clone(),
            top_images: Arc::clone(&self.top_images),
            cache: Arc::clone(&self.cache),
            shared: self.shared.clone(),
            upstream: Arc::clone(&self.upstream),
            credentials: Arc::clone(&self.credentials),
            listening,
            settings: Arc::clone(&self.settings_text),
            token: self.admin_token.clone(),
        })
    }
}

/// Builds the cache of images, lists and the catalogue's items, all of them empty.
fn cache(
    settings: &Settings,
    metrics: &Arc<Metrics>,
    calls: &TaskTracker,
) -> Arc<Cache<UpstreamError>> {
    let (metrics, calls) = (Arc::clone(metrics), calls.clone());
    let cache = Cache::new(&settings.cache, settings.freshness.clone(), metrics, calls);
    let cache = cache.with_lists(settings.lists.clone());
    Arc::new(cache.with_catalogue(&settings.catalogue))
}

/// Names this gateway for `/status`, by its pod or host.
fn instance(
    settings: &Settings,
    environment: &Environment,
    upstream: &Upstream,
) -> GatewayInstance {
    let host = std::fs::read_to_string(HOST_NAME).unwrap_or_default();
    let region = settings.upstream.endpoint.is_none();
    let region = region.then_some(settings.upstream.region.as_str());
    let (origin, mode) = (upstream.origin().host(), settings.auth.mode);
    GatewayInstance::new(environment, &host, origin, region, mode)
}

/// File of Linux with the host's name; where there is none, the name stays unknown.
const HOST_NAME: &str = "/proc/sys/kernel/hostname";

/// Builds the client towards the origin, and the shared cache that holds its fleet's pace.
///
/// # Errors
/// Those of [`upstream`].
fn origin(
    settings: &Settings,
    environment: &Environment,
    credentials: &Arc<CredentialProvider>,
    metrics: &Arc<Metrics>,
) -> Result<(Arc<Upstream>, Option<Arc<SharedCache>>), StartError> {
    let upstream = upstream(settings, environment, credentials, metrics)?;
    let origin = upstream.origin().host();
    let shared = SharedCache::from_config(&settings.shared_cache, origin, metrics);
    let upstream = match &shared {
        Some(shared) => upstream.in_fleet(Arc::<SharedCache>::clone(shared)),
        None => upstream,
    };
    Ok((Arc::new(upstream), shared))
}

/// Builds the client towards the origin. `check` builds it alone.
///
/// # Errors
/// [`StartError`] when the origin's address, the CA file or the proxy cannot be used.
pub fn upstream(
    settings: &Settings,
    environment: &Environment,
    credentials: &Arc<CredentialProvider>,
    metrics: &Arc<Metrics>,
) -> Result<Upstream, StartError> {
    let origin = Origin::from_config(&settings.upstream)?;
    let transport = transport::build(&settings.upstream.transport(environment)?)?;
    Ok(Upstream::new(
        origin,
        settings.upstream.clone(),
        transport,
        Arc::clone(credentials),
        Arc::clone(metrics),
    ))
}
