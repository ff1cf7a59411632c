//! Service accounts of a Kubernetes cluster as clients: each pod has a token that its cluster issues and renews, so no
//! secret is handed out.
//!
//! ```text
//! token ─► remembered? ─► verify: key, algorithm, signature, iss, aud, times ─► sub ─► client
//! ```
//!
//! - `token` verifies a token against the issuer's public `keys`; both are pure.
//! - `source` loads the keys, and [`ServiceAccounts::keep_keys`] keeps them fresh. A `kid` that no key has brings
//!   the next load forward. While loads fail, the last good keys stay in force.
//! - A verified token is remembered by the SHA-256 of its whole text, together with the keys that verified it: it costs
//!   one signature check until it expires, and other keys forget it. Which client it belongs to is looked up for each
//!   request, so that a client's removal takes effect at once.
//!
//! The cluster is not asked about a token: it stays valid until its `exp`, even if its pod is gone.

mod config;
mod error;
mod keys;
mod source;
mod token;

pub use config::Config;
pub use error::TokenError;
pub use keys::InvalidKeySet;
pub use source::{LoadKeysError, check_file};

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwapOption;
use bytes::Bytes;
use jiff::Timestamp;
use moka::sync::Cache;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use super::{Client, Clients};
use crate::credentials::backoff;
use crate::error_chain::error_chain;
use crate::observability::logging::Condition;
use crate::observability::metrics::Metrics;
use crate::transport::BuildError;
use keys::IssuerKeys;
use source::KeySource;
pub(super) use token::is_jwt;
use token::{ExpectedClaims, VerifiedToken};

/// Largest number of remembered tokens; they take at most 6 MiB. Each further client costs a signature check a request.
const MAX_REMEMBERED: u64 = 16_384;
/// Shortest time between two loads that unknown keys bring forward: strangers can send any `kid`.
const UNKNOWN_KEY_PAUSE: Duration = Duration::from_secs(10);

/// Verifier of service accounts' tokens, with the issuer's keys.
#[derive(Debug)]
pub struct ServiceAccounts {
    expected: ExpectedClaims,
    source: KeySource,
    refresh: Duration,
    keys: ArcSwapOption<KnownKeys>,
    unknown_key: Notify,
    metrics: Arc<Metrics>,
}

/// Keys in force, and the tokens that they have verified.
#[derive(Debug)]
struct KnownKeys {
    keys: IssuerKeys,
    /// Text of the key set; the same text leaves the remembered tokens alone.
    json: Bytes,
    remembered: Cache<[u8; 32], VerifiedToken>,
}

impl ServiceAccounts {
    /// Builds the verifier without keys; `None` where the settings name no issuer.
    ///
    /// # Errors
    /// [`BuildError`] for an unusable CA file.
    pub fn from_config(
        config: &Config,
        metrics: &Arc<Metrics>,
    ) -> Result<Option<Self>, BuildError> {
        let Some(issuer) = config.issuer.clone() else {
            return Ok(None);
        };
        let Some(source) = KeySource::of(config)? else {
            return Ok(None);
        };
        metrics.expose_service_accounts(TokenError::REASONS);
        Ok(Some(Self {
            expected: ExpectedClaims {
                issuer,
                audience: config.audience.clone(),
            },
            source,
            refresh: config.refresh.0,
            keys: ArcSwapOption::empty(),
            unknown_key: Notify::new(),
            metrics: Arc::clone(metrics),
        }))
    }

    /// Returns the client of a token, whose SHA-256 is `hash`, without I/O.
    ///
    /// # Errors
    /// [`TokenError`]. An unknown key brings the next load of the keys forward.
    pub(super) fn client(
        &self,
        token: &str,
        hash: [u8; 32],
        clients: &Clients,
        now: Timestamp,
    ) -> Result<Arc<Client>, TokenError> {
        let known = self.keys.load();
        let Some(known) = &*known else {
            self.unknown_key.notify_one();
            return Err(TokenError::UnknownKey);
        };
        if let Some(verified) = known.remembered.get(&hash) {
            verified.check_expiry(now)?;
            let client = clients.by_service_account(&verified.account);
            return client.ok_or(TokenError::UnknownSubject);
        }
        let verified = token::verify(token, &known.keys, &self.expected, now);
        let verified = verified.inspect_err(|error| {
            if *error == TokenError::UnknownKey {
                self.unknown_key.notify_one();
            }
        })?;
        let client = clients.by_service_account(&verified.account);
        let client = client.ok_or(TokenError::UnknownSubject)?;
        // Only a client's own tokens take space here, so that no stranger's displace them.
        known.remembered.insert(hash, verified);
        Ok(client)
    }

    /// Returns the reason why no token can be verified, for the readiness probe; `None` with keys.
    #[must_use]
    pub fn unavailable_reason(&self) -> Option<&'static str> {
        let has_none = self.keys.load().is_none();
        has_none.then_some("waiting for the first keys of auth.kubernetes")
    }

    /// Loads the keys and returns their number. The ones in force stay on an error.
    ///
    /// # Errors
    /// [`LoadKeysError`], which is counted and logged here.
    pub async fn load(&self) -> Result<usize, LoadKeysError> {
        let loaded = self.source.load().await;
        let loaded = loaded.map(|(keys, json)| self.install(keys, json));
        let conditions = &self.metrics.conditions;
        match &loaded {
            Ok(number) => {
                self.metrics.service_account_keys.loaded(Ok(*number));
                conditions.recovered(Condition::TokenKeysMissing, "");
            }
            Err(error) => {
                self.metrics.service_account_keys.loaded(Err(()));
                conditions.occurred(Condition::TokenKeysMissing, "", || error_chain(error));
            }
        }
        loaded
    }

    fn install(&self, keys: IssuerKeys, json: Bytes) -> usize {
        let number = keys.len();
        let is_same = |known: &Arc<KnownKeys>| known.json == json;
        if !self.keys.load().as_ref().is_some_and(is_same) {
            tracing::info!(keys = number, "service accounts authenticate by these keys");
            self.keys.store(Some(Arc::new(KnownKeys {
                keys,
                json,
                remembered: Cache::new(MAX_REMEMBERED),
            })));
        }
        number
    }

    /// Loads the keys whenever they are due, until `stop` is cancelled: every `refresh`, after a failure by a backoff
    /// of up to a minute, and at an unknown key at most every ten seconds.
    pub async fn keep_keys(&self, stop: CancellationToken) {
        stop.run_until_cancelled(self.load_forever()).await;
    }

    async fn load_forever(&self) {
        let mut failures = u32::from(self.unavailable_reason().is_some());
        let mut last = Instant::now();
        loop {
            let pause = match failures {
                // Many gateways that started together do not ask together forever.
                0 => self.refresh.mul_f64(1.0 - 0.1 * fastrand::f64()),
                _ => backoff(failures, fastrand::f64()).min(self.refresh),
            };
            let due = last + pause;
            tokio::select! {
                () = sleep_until(due) => {}
                () = self.unknown_key.notified() => {
                    sleep_until(due.min(last + UNKNOWN_KEY_PAUSE)).await;
                }
            }
            failures = match self.load().await {
                Ok(_) => 0,
                Err(_) => failures.saturating_add(1),
            };
            last = Instant::now();
        }
    }
}
