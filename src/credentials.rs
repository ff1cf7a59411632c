//! The one credential that signs for everybody: where it comes from, and the last good one.
//!
//! Sources are asked in order and the first that has a credential is used. Files are read again every
//! `credentials.refresh`, so a rotated secret is picked up without a restart; a source that fails
//! later leaves the last good credential in use. Id, secret and token change as one value.

mod sources;

pub use sources::{Environment, Source, SourceError};

use std::sync::Arc;

use arc_swap::ArcSwapOption;
use jiff::Timestamp;
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;

use crate::metrics::Metrics;
use crate::signing::Credentials;
use crate::units::Span;

/// The `[credentials]` settings. They say where a secret is, never what it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Which sources are asked.
    pub source: SourceName,
    /// The key's id, for `static`; else it is looked for in `access_key_id_file`.
    pub access_key_id: Option<String>,
    /// File with the key's id.
    pub access_key_id_file: Option<String>,
    /// File with the key's secret.
    pub access_key_secret_file: Option<String>,
    /// File with the token of a temporary key.
    pub security_token_file: Option<String>,
    /// How often files are read again.
    pub refresh: Span,
}

/// Which sources are asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SourceName {
    /// All of them, in order: the files, if named, then the environment.
    Chain,
    /// The files.
    Static,
    /// `ALIBABA_CLOUD_ACCESS_KEY_ID`, `_SECRET` and `ALIBABA_CLOUD_SECURITY_TOKEN`.
    Env,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            source: SourceName::Chain,
            access_key_id: None,
            access_key_id_file: None,
            access_key_secret_file: None,
            security_token_file: None,
            refresh: Span::secs(60),
        }
    }
}

/// A credential with where it came from and how long it holds.
#[derive(Clone)]
pub struct Loaded {
    /// The credential.
    pub credentials: Arc<Credentials>,
    /// The source's name.
    pub source: &'static str,
    /// When it expires, if it does.
    pub expires: Option<Timestamp>,
}

/// What may be told of the credential; the `credential` object of `/status`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Status {
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
pub struct Provider {
    sources: Vec<Source>,
    refresh: Span,
    current: ArcSwapOption<Loaded>,
    last_error: Mutex<Option<String>>,
    metrics: Arc<Metrics>,
}

impl std::fmt::Debug for Provider {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Provider")
            .field("status", &self.status())
            .finish_non_exhaustive()
    }
}

impl Provider {
    /// A provider that has asked nobody yet.
    #[must_use]
    pub fn new(config: &Config, environment: &Environment, metrics: Arc<Metrics>) -> Self {
        let sources = Source::of_config(config, environment);
        let (current, last_error) = (ArcSwapOption::empty(), Mutex::new(None));
        Self {
            sources,
            refresh: config.refresh,
            current,
            last_error,
            metrics,
        }
    }

    /// The credential in use, once there is one.
    #[must_use]
    pub fn current(&self) -> Option<Arc<Credentials>> {
        self.current
            .load()
            .as_ref()
            .map(|loaded| Arc::clone(&loaded.credentials))
    }

    /// Asks the sources once and takes what they have. What was in use stays when they fail.
    ///
    /// # Errors
    /// One [`SourceError`] for each source that was asked.
    pub async fn load(&self) -> Result<(), Vec<SourceError>> {
        let mut errors = Vec::new();
        for source in &self.sources {
            match source.load().await {
                Ok(loaded) => {
                    self.take(loaded);
                    return Ok(());
                }
                Err(error) => {
                    self.metrics.credential_loaded(source.name(), Err(()));
                    errors.push(error);
                }
            }
        }
        *self.last_error.lock() = Some(
            errors
                .iter()
                .map(ToString::to_string)
                .collect::<Vec<_>>()
                .join("; "),
        );
        Err(errors)
    }

    fn take(&self, loaded: Loaded) {
        let expiry = loaded.expires.map(|at| at.as_millisecond() as f64 / 1000.0);
        self.metrics.credential_loaded(loaded.source, Ok(expiry));
        let id = &loaded.credentials.access_key_id;
        let known = self
            .current
            .load()
            .as_ref()
            .is_some_and(|current| current.credentials.access_key_id == *id);
        if !known {
            tracing::info!(
                source = loaded.source,
                access_key_id = masked(id),
                "signing with this credential"
            );
        }
        *self.last_error.lock() = None;
        self.current.store(Some(Arc::new(loaded)));
    }

    /// Keeps the credential current until told to stop.
    pub async fn run(&self, stop: CancellationToken) {
        let mut pause = self.refresh.0;
        while stop
            .run_until_cancelled(tokio::time::sleep(pause))
            .await
            .is_some()
        {
            let loaded = self.load().await;
            if let Err(errors) = &loaded {
                for error in errors {
                    tracing::warn!(%error, "the credential could not be read again; the last good one stays in use");
                }
            }
            // Until there is a first credential nothing works: look often.
            pause = if self.current.load().is_some() {
                self.refresh.0
            } else {
                self.refresh.0.min(FIRST_RETRY)
            };
        }
    }

    /// What may be told.
    #[must_use]
    pub fn status(&self) -> Status {
        let current = self.current.load();
        let loaded = current.as_ref();
        Status {
            source: loaded.map(|loaded| loaded.source),
            access_key_id: loaded.map(|loaded| masked(&loaded.credentials.access_key_id)),
            expires_at: loaded
                .and_then(|loaded| loaded.expires)
                .map(|at| at.to_string()),
            last_error: self.last_error.lock().clone(),
        }
    }
}

const FIRST_RETRY: std::time::Duration = std::time::Duration::from_secs(2);

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
mod tests {
    use secrecy::ExposeSecret;

    use super::*;

    fn provider(config: &Config, variables: &[(&str, &str)]) -> Provider {
        let environment = variables
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect();
        Provider::new(config, &environment, Arc::new(Metrics::new()))
    }

    const VARIABLES: [(&str, &str); 3] = [
        ("ALIBABA_CLOUD_ACCESS_KEY_ID", "LTAIexampleEnv00"),
        ("ALIBABA_CLOUD_ACCESS_KEY_SECRET", "from-env"),
        ("ALIBABA_CLOUD_SECURITY_TOKEN", ""),
    ];

    #[tokio::test]
    async fn files_go_before_the_environment_and_a_rotated_secret_is_taken() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("secret");
        std::fs::write(&file, "first\n").unwrap();
        let config = Config {
            access_key_id: Some("LTAIexampleFile0".to_owned()),
            access_key_secret_file: Some(file.to_str().unwrap().to_owned()),
            ..Config::default()
        };
        let provider = provider(&config, &VARIABLES);
        provider.load().await.unwrap();
        assert_eq!(
            provider
                .current()
                .unwrap()
                .access_key_secret
                .expose_secret(),
            "first"
        );
        std::fs::write(&file, "second").unwrap();
        provider.load().await.unwrap();
        assert_eq!(
            provider
                .current()
                .unwrap()
                .access_key_secret
                .expose_secret(),
            "second"
        );
        assert_eq!(provider.status().access_key_id.unwrap(), "LTAI****ile0");
    }

    #[tokio::test]
    async fn the_last_good_credential_stays_when_its_file_goes() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("secret");
        std::fs::write(&file, "good").unwrap();
        let config = Config {
            source: SourceName::Static,
            access_key_id: Some("id".to_owned()),
            access_key_secret_file: Some(file.to_str().unwrap().to_owned()),
            ..Config::default()
        };
        let provider = provider(&config, &[]);
        provider.load().await.unwrap();
        std::fs::remove_file(&file).unwrap();
        assert_eq!(provider.load().await.unwrap_err().len(), 1);
        assert_eq!(
            provider
                .current()
                .unwrap()
                .access_key_secret
                .expose_secret(),
            "good"
        );
        assert!(provider.status().last_error.unwrap().contains("secret"));
    }

    #[tokio::test]
    async fn without_files_the_environment_is_asked_and_an_empty_token_is_none() {
        let provider = provider(&Config::default(), &VARIABLES);
        provider.load().await.unwrap();
        let current = provider.current().unwrap();
        assert_eq!(current.access_key_secret.expose_secret(), "from-env");
        assert!(current.security_token.is_none());
    }

    #[tokio::test]
    async fn every_source_says_what_it_lacks() {
        let errors = provider(&Config::default(), &[]).load().await.unwrap_err();
        let text = errors
            .iter()
            .map(ToString::to_string)
            .collect::<Vec<_>>()
            .join("\n");
        assert!(
            text.contains("credentials.access_key_secret_file"),
            "{text}"
        );
        assert!(text.contains("ALIBABA_CLOUD_ACCESS_KEY_ID"), "{text}");
    }
}
