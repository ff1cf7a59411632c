//! What every source needs to know: settings, environment and a way to ask others.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use super::client::Client;
use super::oauth::Memory;
use super::{Config, SourceError};

/// Environment variables, as they were when the process started.
pub type Environment = BTreeMap<String, String>;

/// What every source needs to know. A setting goes before the vendor's variable of the same meaning.
pub struct Context {
    pub(super) config: Config,
    pub(super) environment: Environment,
    pub(super) client: Client,
    /// An OAuth sign-in newer than the file's.
    pub(super) oauth: Arc<Memory>,
}

impl Context {
    pub(super) fn new(config: Config, environment: Environment) -> Self {
        let client = Client::new(&config);
        Self {
            config,
            environment,
            client,
            oauth: Arc::default(),
        }
    }

    /// A variable that is set to something.
    pub(super) fn variable(&self, name: &str) -> Option<&str> {
        let value = self.environment.get(name).map(String::as_str);
        value.filter(|value| !value.is_empty())
    }

    /// Whether a variable says `true`, in any case.
    pub(super) fn is_on(&self, name: &str) -> bool {
        self.variable(name)
            .is_some_and(|value| value.eq_ignore_ascii_case("true"))
    }

    /// A setting, else a variable.
    pub(super) fn named(&self, setting: Option<&str>, variable: &str) -> Option<String> {
        setting
            .or_else(|| self.variable(variable))
            .map(str::to_owned)
    }

    /// A file below the user's home folder.
    pub(super) fn at_home(&self, path: &str) -> Option<String> {
        let home = PathBuf::from(self.variable("HOME")?);
        home.join(path).to_str().map(str::to_owned)
    }
}

/// Reads a file as it is.
pub(super) async fn read(key: &'static str, path: &str) -> Result<String, SourceError> {
    tokio::fs::read_to_string(path)
        .await
        .map_err(|cause| SourceError::File {
            key,
            path: path.to_owned(),
            cause,
        })
}
