//! The three listeners: the data port, which drains at a stop, and admin and observe, which do not.

use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::background::Background;
use super::parts::Parts;
use super::sockets::Sockets;
use crate::admin::Observe;
use crate::auth::Mode;
use crate::body::Budget;
use crate::config::Settings;
use crate::gateway::Gateway;
use crate::observability::metrics::ListenerMetrics;
use crate::server::{self, BoundSocket, EvictionPolicy, Server, ServerBounds, Service};
use crate::units::HumanDuration;

/// Listeners of a running gateway, all of which accept connections.
pub(super) struct Listeners {
    /// Server of the data port, which is drained at a stop.
    pub(super) data: Arc<Server<Gateway>>,
    /// Ends the accepting of the data port; admin and observe end with the background tasks, so that probes
    /// are answered while the data port drains.
    pub(super) close: CancellationToken,
}

/// Connections on each of the admin and observe listeners: a few probes, scrapers and browsers.
const SECONDARY_CONNECTIONS: u32 = 64;

/// Time after which an idle connection on these is closed; a prober opens another.
const SECONDARY_IDLE: HumanDuration = HumanDuration::secs(10);

/// Time that their connections get to finish once the gateway stops.
const SECONDARY_DRAIN: Duration = Duration::from_secs(1);

impl Listeners {
    /// Accepts on every socket, in tasks among the background's. The data port holds `max_connections`, where
    /// the limit of open files allows fewer than the settings.
    pub(super) fn serve(
        parts: &Parts,
        gateway: Arc<Gateway>,
        settings: &Settings,
        sockets: Sockets,
        max_connections: Option<u32>,
        background: &Background,
    ) -> Self {
        let admin = parts.admin(sockets.listening());
        let mut config = settings.listen.clone();
        config.max_connections = max_connections.unwrap_or(config.max_connections);
        let bounds = ServerBounds {
            policy: match settings.auth.mode {
                Mode::None => EvictionPolicy::RefuseNew,
                Mode::Required => EvictionPolicy::OldestUnauthenticated,
            },
            budget: parts.budget.clone(),
        };
        let data = Server::bounded(
            gateway,
            config,
            parts.tls.clone(),
            Arc::new(parts.metrics.listener("data")),
            bounds,
        );
        let close = CancellationToken::new();
        let accepting = Arc::clone(&data).accept(sockets.data, close.clone());
        background.tasks.spawn(accepting);
        let counts = parts.metrics.listener("admin");
        serve_secondary(background, Arc::clone(&admin), sockets.admin, counts);
        if let Some(bound) = sockets.observe {
            let counts = parts.metrics.listener("observe");
            serve_secondary(background, Arc::new(Observe(admin)), bound, counts);
        }
        Self { data, close }
    }
}

/// Serves a listener until the background tasks stop; its connections then get a second.
fn serve_secondary<S: Service>(
    background: &Background,
    service: Arc<S>,
    bound: BoundSocket,
    metrics: ListenerMetrics,
) {
    let config = server::Config {
        max_connections: SECONDARY_CONNECTIONS,
        idle_timeout: SECONDARY_IDLE,
        ..server::Config::default()
    };
    let bounds = ServerBounds {
        policy: EvictionPolicy::LongestIdle,
        budget: Budget::new(config.max_buffered),
    };
    let server = Server::bounded(service, config, None, Arc::new(metrics), bounds);
    let stop = background.stop.clone();
    background.tasks.spawn(async move {
        Arc::clone(&server).accept(bound, stop).await;
        server.drain(SECONDARY_DRAIN).await;
    });
}
