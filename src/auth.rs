//! Who asks, and what they may ask and see.
//!
//! ```text
//! sign in (who?) ─► Principal ─► may (which operations?) ─► authorize (which images?), on every answer
//! ```
//!
//! Clients sign in with what their unmodified SDKs send: an ACS3 or ROA v2 signature by a key that the
//! operator issued, a bearer token, or a client certificate. None of it ever goes to the origin.

mod authenticate;
mod client;
mod clients;
mod error;
mod headers;
mod nonces;
mod policy;
mod rate_limiter;
mod writes;

pub use authenticate::{Authenticated, BodyProof};
pub use client::{Client, Hidden, Principal, Visible};
pub use clients::{Clients, InvalidClients, IssueError, IssuedKey, NewClient};
pub use error::AuthError;
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

use crate::api::Action;
use crate::observability::logging::Condition;
use crate::observability::metrics::Metrics;
use crate::peer::Peer;
use crate::units::ByteSize;
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
    /// What the nonces of all clients take together.
    pub nonces_max_bytes: ByteSize,
    /// File that the nonces of writes are journalled in.
    pub write_journal: Option<String>,
}

/// Whether clients must sign in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// Everybody who can reach the socket is `anonymous` and sees all; only on loopback or a Unix socket.
    None,
    /// Every request carries a credential from `clients_file`.
    Required,
}

impl Mode {
    /// The word in settings and logs.
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
        }
    }
}

/// Tells who asks. The clients can be exchanged while it runs.
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
}

impl Authenticator {
    /// Lets everybody in as `anonymous`, or reads who may come in. The nonces of writes are journalled at
    /// `journal`, where writes are let in at all.
    ///
    /// # Errors
    /// [`InvalidClients`]: everything that is wrong with the clients' file.
    pub fn open(
        config: &Config,
        journal: Option<&Path>,
        metrics: Arc<Metrics>,
    ) -> Result<Self, InvalidClients> {
        let clients = match config.mode {
            Mode::None => None,
            Mode::Required => {
                metrics.expose_authentication(&AuthError::REASONS);
                let path = PathBuf::from(&config.clients_file);
                let nonces = Nonces::new(config);
                let clients = Clients::load(&path, &nonces, None)?;
                if clients.names().next().is_none() {
                    tracing::warn!(file = %path.display(), "there is no [[client]], so nobody can sign in: add one with `client add`, no restart is needed");
                }
                clients.register_metrics(&metrics);
                Some(Keyring {
                    current: ArcSwap::from_pointee(clients),
                    path,
                    nonces,
                    writes: WriteLog::open(journal, &metrics, Timestamp::now()),
                })
            }
        };
        Ok(Self { clients, metrics })
    }

    /// Authentication of clients.
    #[must_use]
    pub const fn is_required(&self) -> bool {
        self.clients.is_some()
    }

    /// Who sends this request. Costs no I/O; a body is not needed yet, see [`BodyProof`].
    ///
    /// # Errors
    /// [`AuthError`], which is counted here. It never tells what the right signature would have been.
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
        let authenticated =
            authenticate::authenticate(&keyring.current.load(), head, peer, action, now());
        let refused = match &authenticated {
            Ok(authenticated) => authenticated.ignored_signature,
            Err(refused) => Some(*refused),
        };
        if let Some(refused) = refused {
            self.count_refused(refused, || format!("peer {peer}"));
        }
        authenticated
    }

    /// Makes sure that a signed write reaches the origin at most once, over restarts too: its nonce is on
    /// disk when this returns. `is_shared` says that a fleet's record is asked besides, which then decides
    /// about the date.
    ///
    /// # Errors
    /// [`AuthError`], which is counted here: the write must not be sent.
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
        claimed.inspect_err(|refused| self.count_write_refused(*refused))
    }

    /// Counts a signed write that is refused after its signature was verified.
    pub fn count_write_refused(&self, refused: AuthError) {
        self.count_refused(refused, || "a signed write".to_owned());
    }

    fn count_refused(&self, refused: AuthError, detail: impl FnOnce() -> String) {
        debug_assert!(AuthError::REASONS.contains(&refused.reason()));
        self.metrics.authentication_refused(refused.reason());
        let conditions = &self.metrics.conditions;
        conditions.occurred(Condition::SignInsRefused, refused.reason(), detail);
    }

    /// Lets go of the journal of writes. None is let in any more.
    pub async fn close(&self) {
        if let Some(keyring) = &self.clients {
            keyring.writes.close().await;
        }
    }

    /// The files that the clients are made of: the clients' file and the secrets it names.
    #[must_use]
    pub fn files(&self) -> Vec<PathBuf> {
        self.clients.as_ref().map_or_else(Vec::new, |keyring| {
            let mut files = keyring.current.load().secret_files().to_vec();
            files.push(keyring.path.clone());
            files
        })
    }

    /// Reads the clients anew. Nonces and budgets of those who stay are kept; on an error the old
    /// clients stay in force.
    ///
    /// # Errors
    /// [`InvalidClients`]: everything that is wrong with the clients' file.
    pub fn reload(&self) -> Result<(), InvalidClients> {
        let Some(keyring) = &self.clients else {
            return Ok(());
        };
        let old = keyring.current.load_full();
        let clients = Clients::load(&keyring.path, &keyring.nonces, Some(&old))?;
        // An editor may have emptied the file and not filled it yet.
        if clients.names().next().is_none() && old.names().next().is_some() {
            let place = keyring.path.display();
            return Err(InvalidClients(vec![format!(
                "{place} has no [[client]], so nobody could sign in: write at least one client"
            )]));
        }
        clients.register_metrics(&self.metrics);
        for name in old.names().filter(|name| !clients.has(name)) {
            self.metrics.forget_client(name);
        }
        keyring.current.store(Arc::new(clients));
        Ok(())
    }

    /// Brings the gauges up to date that nothing else moves.
    pub fn export(&self) {
        if let Some(keyring) = &self.clients {
            let nonces = keyring.nonces.len();
            self.metrics
                .nonces_remembered
                .set(i64::try_from(nonces).unwrap_or(i64::MAX));
        }
    }
}

/// Checks the clients' file without keeping it.
///
/// # Errors
/// [`InvalidClients`]: everything that is wrong.
pub fn check_clients(path: &Path) -> Result<(), InvalidClients> {
    Clients::load(path, &Nonces::new(&Config::default()), None).map(drop)
}
