//! Provider of the one credential that signs every request to the origin.
//!
//! The sources are tried in this order, and the first that has a credential is used from then on:
//!
//! 1. files that the settings name
//! 2. the vendor's environment variables
//! 3. a role assumed with an OIDC token (RRSA)
//! 4. a profile of the vendor's command line
//! 5. a profile of the SDKs' credentials file
//! 6. the RAM role of the ECS instance
//! 7. a credentials URI
//!
//! `credentials.assume_role_arn` assumes a role with any of them. A temporary credential is renewed at 70 to
//! 80 % of its lifetime; one without an expiration is loaded again every `credentials.refresh`; a failed load
//! is retried with exponential backoff. The last good credential signs until its true expiration, and only
//! then is the whole chain tried again. Towards a parent gateway a bearer token may stand in the place of a key: a
//! source of its own, `token_file`, which no chain has. Id, secret and token are swapped as one value, so no request is
//! signed with parts of two credentials.
//!
//! Secrets stay out of logs: types that hold one do not implement `Debug`, and errors never quote a file, a
//! response or a parser's message.

mod claims;
mod cli_profile;
mod client;
mod cloud_sso;
mod config;
mod context;
mod ecs;
mod env;
mod error;
mod external;
mod files;
mod observer;
mod oidc;
mod profile;
mod response;
mod schedule;
mod source;
mod spec;
mod sts;
mod token_file;
mod uri;

pub use claims::UnverifiedClaims;
pub use client::{BadAddress, InsecureHttp, address};
pub use config::{Config, SourceName};
pub use context::Context;
pub use error::SourceError;
pub use observer::{Observer, Unobserved};
pub use schedule::{backoff, refresh_at};
pub use source::Source;

use std::sync::Arc;

use arc_swap::ArcSwapOption;
use jiff::Timestamp;
use parking_lot::Mutex;
use serde::Serialize;
use tokio::sync::Notify;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::Identity;
use crate::clock::Clock;
use host::environment::Environment;
use host::error_chain::error_chain;
use oidc::Oidc;
use schedule::RefreshSchedule;

/// Credential in use, with the source that renews it and its expiration.
#[derive(Clone)]
pub struct LoadedCredentials {
    /// Key that signs requests, or token that they carry.
    pub identity: Arc<Identity>,
    /// Source that gave it.
    pub source: Source,
    /// Time from which the vendor's servers refuse it; `None` for a key without an expiration.
    pub expires: Option<Timestamp>,
}

impl LoadedCredentials {
    fn is_valid(&self, clock: &Clock) -> bool {
        self.expires.is_none_or(|expires| clock.now() < expires)
    }
}

/// State of the credential without its secrets: the `credential` object of `/status`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct CredentialStatus {
    /// Name of the source that gave it; `None` before the first credential.
    pub source: Option<&'static str>,
    /// First and last four characters of its id, or only asterisks where the id is too short to mask; `None` for a
    /// token, which has no id.
    pub access_key_id: Option<String>,
    /// Expiration in RFC 3339; `None` for a key without one.
    pub expires_at: Option<String>,
    /// Errors of the last load, one for each source that was tried; `None` after a success.
    pub last_error: Option<String>,
}

/// Holds the credential in use and renews it. Reading it takes no lock, since every signed request does.
pub struct CredentialProvider {
    clock: Arc<Clock>,
    context: Context,
    sources: Vec<Source>,
    current: ArcSwapOption<LoadedCredentials>,
    schedule: Mutex<RefreshSchedule>,
    rejection: Notify,
    last_error: Mutex<Option<String>>,
    observer: Arc<dyn Observer>,
}

impl std::fmt::Debug for CredentialProvider {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Provider")
            .field("status", &self.status())
            .finish_non_exhaustive()
    }
}

impl CredentialProvider {
    /// Creates a provider without a credential; the first [`load`](Self::load) fetches one.
    #[must_use]
    pub fn new(config: &Config, environment: &Environment, observer: Arc<impl Observer>) -> Self {
        let observer: Arc<dyn Observer> = observer;
        let clock = Arc::new(Clock::new(Arc::clone(&observer)));
        let context = Context::timed(
            config.clone(),
            environment.clone(),
            Arc::clone(&clock),
            Arc::clone(&observer),
        );
        let sources = Source::of_context(&context);
        for source in &sources {
            observer.source_known(source.as_str());
        }
        Self {
            clock,
            sources,
            context,
            current: ArcSwapOption::empty(),
            schedule: Mutex::new(RefreshSchedule::new(Instant::now())),
            rejection: Notify::new(),
            last_error: Mutex::new(None),
            observer,
        }
    }

    /// Returns the clock that dates signatures and judges expirations. Responses of the vendor's servers
    /// correct it, so that a wrong machine clock neither spoils signatures nor drops a valid credential.
    #[must_use]
    pub fn clock(&self) -> &Clock {
        &self.clock
    }

    /// Returns the credential in use; `None` before the first, and after the last has expired.
    #[must_use]
    pub fn current(&self) -> Option<Arc<Identity>> {
        // One pointer load: id, secret and token of one value, and no lock on the path of a request.
        let current = self.current.load();
        let loaded = current
            .as_ref()
            .filter(|loaded| loaded.is_valid(&self.clock))?;
        Some(Arc::clone(&loaded.identity))
    }

    /// Returns the reason why [`current`](Self::current) is `None`, for the readiness probe; `None` while there
    /// is a valid credential.
    #[must_use]
    pub fn unavailable_reason(&self) -> Option<&'static str> {
        match self.current.load().as_ref() {
            None => Some("waiting for the first credential"),
            Some(loaded) if loaded.is_valid(&self.clock) => None,
            Some(_) => Some("the credential has expired and could not be renewed"),
        }
    }

    /// Reports that the origin refused the credential. It is fetched again at once instead of at its renewal,
    /// but at most once in ten seconds however often this is called. The one in use stays until another has
    /// been loaded.
    pub fn report_rejection(&self) {
        self.rejection.notify_one();
    }

    /// Loads a credential from the first source that has one. While a valid credential is in use, only its own
    /// source is tried: another source could name another account. The one in use stays when that fails.
    ///
    /// # Errors
    /// One [`SourceError`] for each source that was tried.
    pub async fn load(&self) -> Result<(), Vec<SourceError>> {
        let mut errors = Vec::new();
        for source in self.candidates() {
            match source.load(&self.context).await {
                Ok(loaded) => {
                    self.install(loaded);
                    return Ok(());
                }
                Err(error) => {
                    self.observer.failed(source.as_str());
                    errors.push(error);
                }
            }
        }
        let each = errors
            .iter()
            .map(|error| error_chain(error))
            .collect::<Vec<_>>();
        *self.last_error.lock() = Some(each.join("; "));
        let draw = fastrand::f64();
        self.schedule.lock().failed(Instant::now(), draw);
        Err(errors)
    }

    fn candidates(&self) -> Vec<Source> {
        match self.current.load().as_ref() {
            Some(loaded) if loaded.is_valid(&self.clock) => vec![loaded.source],
            Some(_) | None => self.sources.clone(),
        }
    }

    fn install(&self, loaded: LoadedCredentials) {
        let now = self.clock.now();
        let source = loaded.source.as_str();
        let renewal = loaded
            .expires
            // Another process replaces a token's file whenever it likes, so it is read each `refresh`.
            .filter(|_| loaded.source != Source::TokenFile)
            .map(|expires| refresh_at(now, expires, fastrand::f64()));
        let id = loaded.identity.access_key_id();
        let current = self.current.load();
        let known = current
            .as_ref()
            .is_some_and(|current| current.identity.access_key_id() == id);
        if !known {
            let expires = loaded.expires.map(tracing::field::display);
            let access_key_id = id.map(masked);
            tracing::info!(
                source,
                access_key_id,
                expires,
                "signing with this credential"
            );
        }
        // The credential is in place before the schedule moves on, so that whoever sees the renewal as done also
        // finds its result.
        *self.last_error.lock() = None;
        self.observer.loaded(source, loaded.expires);
        self.current.store(Some(Arc::new(loaded)));
        let (clocks, period) = ((Instant::now(), now), self.context.config.refresh.0);
        self.schedule.lock().succeeded(clocks, renewal, period);
    }

    /// Renews the credential whenever it is due, until `stop` is cancelled.
    pub async fn run(&self, stop: CancellationToken) {
        stop.run_until_cancelled(self.renew_forever()).await;
    }

    async fn renew_forever(&self) {
        loop {
            self.wait_until_due().await;
            if self.load().await.is_err() {
                let error = self.last_error.lock().clone().unwrap_or_default();
                let state = self
                    .unavailable_reason()
                    .unwrap_or("the last good one signs until it expires");
                self.observer.not_renewed(&format_args!("{error}; {state}"));
            }
        }
    }

    async fn wait_until_due(&self) {
        loop {
            // Looked at again after each wake-up: a rejection moves the time forward, and the wall clock runs
            // on while the machine sleeps.
            let pause = self
                .schedule
                .lock()
                .pause((Instant::now(), self.clock.now()));
            let Some(pause) = pause else { return };
            // Notify keeps one permit, so a rejection that comes during a load is not lost.
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = self.rejection.notified() => self.schedule.lock().request_refresh(Instant::now()),
            }
        }
    }

    /// Returns the path of the OIDC token's file, where an OIDC role is one of the sources and completely set up.
    #[must_use]
    pub fn oidc_token_file(&self) -> Option<String> {
        let oidc = self.sources.contains(&Source::Oidc);
        let oidc = oidc.then(|| Oidc::of(&self.context).ok()).flatten()?;
        Some(oidc.token_file)
    }

    /// Returns the state of the credential for `/status`, without its secrets.
    #[must_use]
    pub fn status(&self) -> CredentialStatus {
        let current = self.current.load();
        let loaded = current.as_ref();
        CredentialStatus {
            source: loaded.map(|loaded| loaded.source.as_str()),
            access_key_id: loaded
                .and_then(|loaded| loaded.identity.access_key_id())
                .map(masked),
            expires_at: loaded
                .and_then(|loaded| loaded.expires)
                .map(|at| at.to_string()),
            last_error: self.last_error.lock().clone(),
        }
    }
}

/// Shows the first and last four characters of a key's id: enough to recognize it, too little to use it.
fn masked(id: &str) -> String {
    match (
        id.get(..4),
        id.len().checked_sub(4).and_then(|at| id.get(at..)),
    ) {
        (Some(head), Some(tail)) if id.len() > 8 => format!("{head}****{tail}"),
        _ => "****".to_owned(),
    }
}

#[cfg(test)]
mod tests;
