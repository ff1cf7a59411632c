//! In-memory emulation of the origin that verifies every request's signature.
//!
//! The commands `emulate` and `demo`, the tests and the benchmarks run against it, so it answers as
//! AIWorkSpace was recorded to answer, headers and error texts included. On one port it serves
//! - the API's image operations, each request verified as ACS3-HMAC-SHA256 asks, and
//! - `/emulator/…`, unsigned, to read its counts and to change its images and faults while it runs.
//!
//! A response is made at once and then delayed by [`Settings::latency`], so it can be out of date when it
//! arrives. A list of [`Fault`]s makes requests fail on purpose. The control routes have no authentication,
//! so the port belongs on a loopback address.

mod api_error;
mod auth_rejection;
mod authenticator;
mod clock;
mod control;
mod counts;
mod fault;
mod fault_kinds;
mod fault_spec;
mod fixture;
mod generated;
#[cfg(test)]
mod harness;
mod image;
mod image_search;
mod inbound;
mod inject;
mod label_search;
mod listener;
mod new_image;
mod nonces;
mod operation;
mod quota;
mod response;
mod script;
mod service;
mod store;
mod trouble;
mod write;

pub use control::{CONTROL_ROUTES, ControlRoute};
pub use counts::Counts;
pub use fault::{Fault, FaultKind};
pub use fault_kinds::{FAULT_KINDS, KindHelp};
pub use fixture::Fixture;
pub use image::{Accessibility, Image, Label};
pub use script::{Script, ScriptError};
pub use store::{Members, ModifyError, Store};
pub use trouble::Trouble;

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use jiff::SignedDuration;
use secrecy::SecretString;
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;

use listener::Listener;
use service::ApiService;

/// Settings of an emulator: its address, its access key and its behaviour.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Address to listen on; port 0 takes a free one.
    pub listen: SocketAddr,
    /// The only access key that it accepts.
    pub access_key_id: String,
    /// That key's secret.
    pub access_key_secret: SecretString,
    /// Security token that every request must carry; with `None`, requests that carry one are rejected.
    pub security_token: Option<SecretString>,
    /// Number of generated images that it starts with; [`Store::id`] returns their ids.
    pub images: usize,
    /// Delay of each response.
    pub latency: Duration,
    /// Faults to inject; the first rule that matches a request applies.
    pub faults: Vec<Fault>,
    /// Requests of one operation within any second beyond which it throttles; `None` never throttles.
    pub quota_per_second: Option<u32>,
    /// Recorded answers, which come instead of its own.
    pub fixtures: Vec<Fixture>,
}

impl Default for Settings {
    /// A hundred images on a free loopback port, no latency, no faults, no quota.
    fn default() -> Self {
        Self {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
            access_key_id: "emulator-key".to_owned(),
            access_key_secret: "emulator-secret".into(),
            security_token: None,
            images: 100,
            latency: Duration::ZERO,
            faults: Vec::new(),
            quota_per_second: None,
            fixtures: Vec::new(),
        }
    }
}

/// A running emulator. Dropping it closes its port and every connection.
pub struct Emulator {
    address: SocketAddr,
    service: Arc<ApiService>,
    tasks: TaskTracker,
    stop: DropGuard,
}

impl Emulator {
    /// Binds the address and starts to serve.
    ///
    /// # Errors
    /// Fails if the address cannot be bound.
    pub async fn start(settings: Settings) -> io::Result<Self> {
        let listener = Listener::bind(settings.listen)?;
        let address = listener.address()?;
        let service = Arc::new(ApiService::new(settings));
        let (tasks, stop) = (TaskTracker::new(), CancellationToken::new());
        tasks.spawn(listener.run(Arc::clone(&service), tasks.clone(), stop.clone()));
        Ok(Self {
            address,
            service,
            tasks,
            stop: stop.drop_guard(),
        })
    }

    /// Returns the address that it listens on, with the port that was chosen.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Returns the store of images, to read and change while the emulator runs.
    #[must_use]
    pub fn store(&self) -> &Store {
        self.service.store()
    }

    /// Replaces the script of faults; every rule counts from zero again.
    pub fn script(&self, faults: Vec<Fault>) {
        self.service.script().replace(faults);
    }

    /// Returns the counts of requests and responses so far.
    #[must_use]
    pub fn counts(&self) -> Counts {
        self.service.counts()
    }

    /// Returns the number of authenticated GetImage requests for this image, whatever the response.
    #[must_use]
    pub fn fetches(&self, image: &str) -> u64 {
        self.service.fetches(image)
    }

    /// Shifts its clock by this much: the `Date` of responses, the times written into images, and the clock
    /// that requests' dates are compared with.
    pub fn set_clock_offset(&self, offset: SignedDuration) {
        self.service.set_clock_offset(offset);
    }

    /// Closes the port and every connection, and returns when they are closed.
    pub async fn shutdown(self) {
        drop(self.stop);
        self.tasks.close();
        self.tasks.wait().await;
    }
}

#[cfg(test)]
mod tests {
    use super::harness::Harness;
    use super::*;

    #[tokio::test]
    async fn a_stopped_emulator_leaves_its_port_and_connections() {
        let harness = Harness::start(Settings::default()).await;
        let image = Store::id(0);
        assert_eq!(harness.fetch(&image).await.status, 200);
        let (address, client) = (harness.emulator.address(), harness.client.clone());
        harness.emulator.shutdown().await;
        assert!(tokio::net::TcpStream::connect(address).await.is_err());
        let uri = format!("http://{address}/emulator/counts").parse().unwrap();
        assert!(client.get(uri).await.is_err());
    }

    #[tokio::test]
    async fn a_dropped_emulator_closes_its_connections() {
        use tokio::io::AsyncReadExt;
        let emulator = Emulator::start(Settings::default()).await.unwrap();
        let mut idle = tokio::net::TcpStream::connect(emulator.address())
            .await
            .unwrap();
        drop(emulator);
        assert_eq!(idle.read(&mut [0; 1]).await.unwrap_or(0), 0);
    }

    #[tokio::test]
    async fn responses_are_delayed_by_the_latency() {
        let latency = Duration::from_millis(60);
        let harness = Harness::start(Settings {
            latency,
            ..Settings::default()
        })
        .await;
        let begun = std::time::Instant::now();
        assert_eq!(harness.fetch(&Store::id(0)).await.status, 200);
        assert!(begun.elapsed() >= latency);
    }

    #[tokio::test]
    async fn many_connections_at_once_are_all_answered() {
        let harness = Harness::start(Settings::default()).await;
        let image = Store::id(0);
        let fetches = (0..500).map(|_| harness.fetch(&image));
        let replies = futures_util::future::join_all(fetches).await;
        assert!(replies.iter().all(|reply| reply.status == 200));
        assert_eq!(harness.emulator.fetches(&image), 500);
    }
}
