//! The one credential that signs for everybody: where it comes from, how it is kept fresh, and the last
//! good one.
//!
//! Sources are asked in order, and the first that has a credential is kept to:
//!
//! 1. files that the settings name, 2. the environment, 3. a role by OIDC token (RRSA), 4. a profile of
//!    the vendor's command line, 5. a profile of the SDKs' credentials file, 6. the ECS instance's role,
//!    7. a credentials URI.
//!
//! A role may be taken on with what they give. A temporary credential is renewed at 80 % of its life,
//! less a random lead; one without an end is read again every `credentials.refresh`; a failure is tried
//! again after a second, then ever later. Whatever fails, the last good credential signs until its true
//! expiration; only when that has passed is the whole order gone through again. Id, secret and token
//! change as one value.
//!
//! No secret has a way into a log: what holds one has no `Debug`, and errors are built from our own words.

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
mod oidc;
mod profile;
mod response;
mod schedule;
mod source;
mod spec;
mod sts;
mod uri;

pub(crate) use client::{InsecureHttp, address};
pub use config::{Config, SourceName};
pub use context::{Context, Environment};
pub use error::SourceError;
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

use crate::clock::Clock;
use crate::observability::logging::{Condition, error_chain};
use crate::observability::metrics::Metrics;
use crate::signing::Credentials;
use schedule::RefreshSchedule;

/// A credential with where it came from and how long it holds.
#[derive(Clone)]
pub struct LoadedCredentials {
    /// The credential.
    pub credentials: Arc<Credentials>,
    /// Where it came from.
    pub source: Source,
    /// When it expires, if it does.
    pub expires: Option<Timestamp>,
}

impl LoadedCredentials {
    fn holds(&self, clock: &Clock) -> bool {
        self.expires.is_none_or(|expires| clock.now() < expires)
    }
}

/// What may be told of the credential; the `credential` object of `/status`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct CredentialStatus {
    /// Where it came from.
    pub source: Option<&'static str>,
    /// First and last four characters of its id.
    pub access_key_id: Option<String>,
    /// When it expires, if it does.
    pub expires_at: Option<String>,
    /// Why the last attempt to load it failed.
    pub last_error: Option<String>,
}

/// Hands out the credential in use.
pub struct CredentialProvider {
    clock: Arc<Clock>,
    context: Context,
    sources: Vec<Source>,
    current: ArcSwapOption<LoadedCredentials>,
    schedule: Mutex<RefreshSchedule>,
    rejection: Notify,
    last_error: Mutex<Option<String>>,
    metrics: Arc<Metrics>,
}

impl std::fmt::Debug for CredentialProvider {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Provider")
            .field("status", &self.status())
            .finish_non_exhaustive()
    }
}

impl CredentialProvider {
    /// A provider that has asked nobody yet.
    #[must_use]
    pub fn new(config: &Config, environment: &Environment, metrics: Arc<Metrics>) -> Self {
        let clock = Arc::new(Clock::new(Arc::clone(&metrics)));
        let context = Context::timed(
            config.clone(),
            environment.clone(),
            Arc::clone(&clock),
            metrics.conditions.clone(),
        );
        let sources = Source::of_context(&context);
        for source in &sources {
            metrics.expose_credential_source(source.as_str());
        }
        Self {
            clock,
            sources,
            context,
            current: ArcSwapOption::empty(),
            schedule: Mutex::new(RefreshSchedule::new(Instant::now())),
            rejection: Notify::new(),
            last_error: Mutex::new(None),
            metrics,
        }
    }

    /// The clock that dates signatures and judges expirations; whoever asks the vendor's servers corrects it.
    #[must_use]
    pub fn clock(&self) -> &Clock {
        &self.clock
    }

    /// The credential in use; `None` before the first, and after the last has expired.
    #[must_use]
    pub fn current(&self) -> Option<Arc<Credentials>> {
        let current = self.current.load();
        let loaded = current
            .as_ref()
            .filter(|loaded| loaded.holds(&self.clock))?;
        Some(Arc::clone(&loaded.credentials))
    }

    /// Why [`current`](Self::current) is `None`, for a readiness probe; `None` while it is not.
    #[must_use]
    pub fn unavailable_reason(&self) -> Option<&'static str> {
        match self.current.load().as_ref() {
            None => Some("waiting for the first credential"),
            Some(loaded) if loaded.holds(&self.clock) => None,
            Some(_) => Some("the credential has expired and could not be renewed"),
        }
    }

    /// The origin refused the credential: it is fetched again now, out of the cycle, but at most once in
    /// ten seconds however often this is called. The one in use stays until another has come.
    pub fn report_rejection(&self) {
        self.rejection.notify_one();
    }

    /// Asks the sources and takes what the first has: all of them while there is no credential that
    /// holds, else only the one it came from. What was in use stays when they fail.
    ///
    /// # Errors
    /// One [`SourceError`] for each source that was asked.
    pub async fn load(&self) -> Result<(), Vec<SourceError>> {
        let mut errors = Vec::new();
        for source in self.candidates() {
            match source.load(&self.context).await {
                Ok(loaded) => {
                    self.take(loaded);
                    return Ok(());
                }
                Err(error) => {
                    self.metrics.credential_loaded(source.as_str(), Err(()));
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
            Some(loaded) if loaded.holds(&self.clock) => vec![loaded.source],
            Some(_) | None => self.sources.clone(),
        }
    }

    fn take(&self, loaded: LoadedCredentials) {
        let now = self.clock.now();
        let expiry = loaded.expires.map(|at| at.as_millisecond() as f64 / 1000.0);
        let source = loaded.source.as_str();
        self.metrics.credential_loaded(source, Ok(expiry));
        let renewal = loaded
            .expires
            .map(|expires| refresh_at(now, expires, fastrand::f64()));
        let id = &loaded.credentials.access_key_id;
        let current = self.current.load();
        let known = current
            .as_ref()
            .is_some_and(|current| current.credentials.access_key_id == *id);
        if !known {
            let expires = loaded.expires.map(tracing::field::display);
            let access_key_id = masked(id);
            tracing::info!(
                source,
                access_key_id,
                expires,
                "signing with this credential"
            );
        }
        *self.last_error.lock() = None;
        let conditions = &self.metrics.conditions;
        conditions.recovered(Condition::CredentialMissing, "");
        self.current.store(Some(Arc::new(loaded)));
        let (clocks, period) = ((Instant::now(), now), self.context.config.refresh.0);
        self.schedule.lock().succeeded(clocks, renewal, period);
    }

    /// Keeps the credential current until told to stop.
    pub async fn run(&self, stop: CancellationToken) {
        stop.run_until_cancelled(self.keep()).await;
    }

    async fn keep(&self) {
        loop {
            self.wait_until_due().await;
            if self.load().await.is_err() {
                let conditions = &self.metrics.conditions;
                conditions.occurred(Condition::CredentialMissing, "", || {
                    let error = self.last_error.lock().clone().unwrap_or_default();
                    let state = self
                        .unavailable_reason()
                        .unwrap_or("the last good one signs until it expires");
                    format!("{error}; {state}")
                });
            }
        }
    }

    async fn wait_until_due(&self) {
        loop {
            let pause = self
                .schedule
                .lock()
                .pause((Instant::now(), self.clock.now()));
            let Some(pause) = pause else { return };
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = self.rejection.notified() => self.schedule.lock().request_refresh(Instant::now()),
            }
        }
    }

    /// What may be told.
    #[must_use]
    pub fn status(&self) -> CredentialStatus {
        let current = self.current.load();
        let loaded = current.as_ref();
        CredentialStatus {
            source: loaded.map(|loaded| loaded.source.as_str()),
            access_key_id: loaded.map(|loaded| masked(&loaded.credentials.access_key_id)),
            expires_at: loaded
                .and_then(|loaded| loaded.expires)
                .map(|at| at.to_string()),
            last_error: self.last_error.lock().clone(),
        }
    }
}

/// Enough of a key's id to recognise it.
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
