//! Authentication of clients, and authorization of operations and images.
//!
//! ```text
//! authenticate ─► Principal ─► may(permission) ─► authorize(image), for every response with an image
//! ```
//!
//! Clients authenticate as their unmodified SDKs do: by an ACS3 or ROA v2 signature with a key that the operator
//! issued, by a bearer token, by the token of a Kubernetes service account, or by a client certificate. No credential of a client is forwarded to the origin.

mod authenticate;
mod client;
mod clients;
mod error;
mod headers;
pub mod kubernetes;
mod nonces;
mod policy;
mod rate_limiter;
mod writes;

pub use authenticate::{Authenticated, BodyProof};
pub use client::{Client, Hidden, Principal, Visible};
pub use clients::{
    ClientSummary, Clients, ClientsFile, DroppedFiles, EditError, InvalidClients, IssuedKey,
    NewClient, OldSecret, Rotation,
};
pub use error::AuthError;
pub use kubernetes::TokenError;
pub use policy::{Allowed, Grant, Permission};
pub use rate_limiter::RateLimiter;
pub use writes::{WriteProof, journal_path};

use std::path::{Path, PathBuf};
use std::sync::Arc;

use arc_swap::ArcSwap;
use http::request::Parts;
use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;

use crate::api::Action;
use crate::error_chain::error_chain;
use crate::observability::logging::Condition;
use crate::observability::metrics::Metrics;
use crate::peer::Peer;
use crate::units::ByteSize;
use authenticate::Issued;
use kubernetes::ServiceAccounts;
use nonces::Nonces;
use writes::WriteLog;

/// The `[auth]` settings.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Authentication of clients.
    pub mode: Mode,
    /// File with the clients, their keys and permissions, for `required`.
    pub clients_file: String,
    /// Nonces remembered for each client, of the last 30 minutes.
    pub nonces_per_client: u32,
    /// Memory of the nonces of all clients together.
    pub nonces_max_bytes: ByteSize,
    /// File that the nonces of writes are journalled in.
    pub write_journal: Option<String>,
    /// Service accounts of a Kubernetes cluster as clients.
    pub kubernetes: kubernetes::Config,
}

/// Requirement for clients to authenticate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// Every client that can reach the socket is `anonymous` and may view all images. Allowed on loopback and Unix
    /// sockets only.
    None,
    /// Every request must carry a credential from `clients_file`.
    Required,
}

impl Mode {
    /// Returns the value in settings and logs.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Required => "required",
        }
    }
}

impl Default for Config {
    fn default() -> Self {
        Self {
            mode: Mode::None,
            clients_file: "clients.toml".to_owned(),
            nonces_per_client: 200_000,
            nonces_max_bytes: ByteSize(64 << 20),
            write_journal: None,
            kubernetes: kubernetes::Config::default(),
        }
    }
}

/// Authenticates requests against the clients' file, which can be reloaded at any time.
#[derive(Debug)]
pub struct Authenticator {
    clients: Option<Keyring>,
    metrics: Arc<Metrics>,
}

#[derive(Debug)]
struct Keyring {
    current: ArcSwap<Clients>,
    path: PathBuf,
    nonces: Arc<Nonces>,
    writes: WriteLog,
    service_accounts: Option<ServiceAccounts>,
}

impl Authenticator {
    /// Reads the clients' file if the mode requires authentication. The nonces of writes are journalled at `journal`,
    /// which is `None` unless the gateway forwards writes.
    ///
    /// # Errors
    /// [`InvalidClients`] with every problem of the clients' file.
    pub fn open(
        config: &Config,
        journal: Option<&Path>,
        metrics: Arc<Metrics>,
    ) -> Result<Self, InvalidClients> {
        let clients = match config.mode {
            Mode::None => None,
            Mode::Required => {
                metrics.expose_authentication(AuthError::REASONS);
                let path = PathBuf::from(&config.clients_file);
                let nonces = Nonces::new(config);
                let service_accounts =
                    ServiceAccounts::from_config(&config.kubernetes, &metrics)
                        .map_err(|error| InvalidClients(vec![error_chain(&error)]))?;
                let clients = Clients::load(&path, &nonces, None)?;
                clients.check_service_accounts(service_accounts.is_some())?;
                if clients.names().next().is_none() {
                    tracing::warn!(file = %path.display(), "the clients' file has no [[client]], so every request is rejected: add one with `client add`; no restart is needed");
                }
                clients.register_metrics(&metrics);
                Some(Keyring {
                    current: ArcSwap::from_pointee(clients),
                    path,
                    nonces,
                    writes: WriteLog::open(journal, &metrics, Timestamp::now()),
                    service_accounts,
                })
            }
        };
        Ok(Self { clients, metrics })
    }

    /// Returns whether clients must authenticate.
    #[must_use]
    pub const fn is_required(&self) -> bool {
        self.clients.is_some()
    }

    /// Authenticates a request by its head, without I/O. The body is checked later, against [`BodyProof`].
    ///
    /// # Errors
    /// [`AuthError`], which is counted here. It never contains the expected signature.
    pub fn authenticate(
        &self,
        head: &Parts,
        peer: &Peer,
        action: Action,
        now: impl FnOnce() -> Timestamp,
    ) -> Result<Authenticated, AuthError> {
        let Some(keyring) = &self.clients else {
            return Ok(Authenticated::anonymous());
        };
        let issued = Issued {
            clients: &keyring.current.load(),
            service_accounts: keyring.service_accounts.as_ref(),
        };
        let authenticated = authenticate::authenticate(issued, head, peer, action, now());
        let error = match &authenticated {
            Ok(authenticated) => authenticated.ignored_signature,
            Err(error) => Some(*error),
        };
        if let Some(error) = error {
            self.count_error(error, || format!("peer {peer}"));
        }
        authenticated
    }

    /// Claims a signed write, so that it reaches the origin at most once, even across restarts: its nonce is on disk
    /// when this returns. `is_shared` means that the shared cache also records nonces; dates from before the start are
    /// then valid, since its record covers them.
    ///
    /// # Errors
    /// [`AuthError`], which is counted here. The write must not be sent.
    pub async fn claim_write(
        &self,
        proof: &WriteProof,
        now: Timestamp,
        is_shared: bool,
    ) -> Result<(), AuthError> {
        let Some(keyring) = &self.clients else {
            return Ok(());
        };
        let claimed = keyring.writes.claim(proof, now, is_shared).await;
        claimed.inspect_err(|error| self.count_write_error(*error))
    }

    /// Counts a signed write that is rejected after its signature was verified.
    pub fn count_write_error(&self, error: AuthError) {
        self.count_error(error, || "a signed write".to_owned());
    }

    fn count_error(&self, error: AuthError, detail: impl FnOnce() -> String) {
        self.metrics.authentication_refused(error.reason());
        let conditions = &self.metrics.conditions;
        conditions.occurred(Condition::SignInsRefused, error.reason(), detail);
    }

    /// Closes the journal of writes for the next process. Every later claim fails.
    pub async fn close(&self) {
        if let Some(keyring) = &self.clients {
            keyring.writes.close().await;
        }
    }

    /// Returns the files to watch: the clients' file and the secrets that it names.
    #[must_use]
    pub fn files(&self) -> Vec<PathBuf> {
        self.clients.as_ref().map_or_else(Vec::new, |keyring| {
            let mut files = keyring.current.load().secret_files().to_vec();
            files.push(keyring.path.clone());
            files
        })
    }

    /// Reloads the clients' file. Clients that stay keep their nonces and rate limiters. On an error the previous
    /// clients remain in force.
    ///
    /// # Errors
    /// [`InvalidClients`] with every problem of the clients' file.
    pub fn reload(&self) -> Result<(), InvalidClients> {
        let Some(keyring) = &self.clients else {
            return Ok(());
        };
        let old = keyring.current.load_full();
        let clients = Clients::load(&keyring.path, &keyring.nonces, Some(&old))?;
        clients.check_service_accounts(keyring.service_accounts.is_some())?;
        // An editor may have emptied the file and not filled it yet.
        if clients.names().next().is_none() && old.names().next().is_some() {
            let place = keyring.path.display();
            return Err(InvalidClients(vec![format!(
                "{place} has no [[client]], so no client could authenticate: write at least one"
            )]));
        }
        clients.register_metrics(&self.metrics);
        for name in old.names().filter(|name| !clients.has(name)) {
            self.metrics.forget_client(name);
        }
        keyring.current.store(Arc::new(clients));
        Ok(())
    }

    /// Keeps the keys that verify service accounts' tokens fresh, until `stop` is cancelled.
    pub async fn keep_keys(&self, stop: CancellationToken) {
        if let Some(accounts) = self.service_accounts() {
            accounts.keep_keys(stop).await;
        }
    }

    /// Returns the reason why clients cannot authenticate yet, for the readiness probe.
    #[must_use]
    pub fn unavailable_reason(&self) -> Option<&'static str> {
        let keyring = self.clients.as_ref()?;
        let accounts = keyring.service_accounts.as_ref()?;
        let is_needed = keyring.current.load().has_service_accounts();
        accounts.unavailable_reason().filter(|_| is_needed)
    }

    /// Returns the verifier of service accounts' tokens, if the settings name an issuer.
    #[must_use]
    pub fn service_accounts(&self) -> Option<&ServiceAccounts> {
        self.clients.as_ref()?.service_accounts.as_ref()
    }

    /// Updates the gauge of remembered nonces; called at each scrape.
    pub fn export(&self) {
        if let Some(keyring) = &self.clients {
            let nonces = keyring.nonces.len();
            self.metrics
                .nonces_remembered
                .set(i64::try_from(nonces).unwrap_or(i64::MAX));
        }
    }
}

/// Checks the clients' file without using it.
///
/// # Errors
/// [`InvalidClients`] with every problem.
pub fn check_clients(config: &Config) -> Result<(), InvalidClients> {
    let path = Path::new(&config.clients_file);
    let clients = Clients::load(path, &Nonces::new(config), None)?;
    clients.check_service_accounts(config.kubernetes.issuer.is_some())
}
