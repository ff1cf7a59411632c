//! What every source needs to know: settings, environment and a way to ask others.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use super::client::HttpClient;
use super::{Config, SourceError};
use crate::clock::Clock;
use crate::observability::logging::Conditions;

/// Environment variables, as they were when the process started.
pub type Environment = BTreeMap<String, String>;

/// What every source needs to know. A setting goes before the vendor's variable of the same meaning.
pub struct Context {
    pub(super) config: Config,
    pub(super) environment: Environment,
    pub(super) client: HttpClient,
}

impl Context {
    #[cfg(test)]
    pub(super) fn new(config: Config, environment: Environment) -> Self {
        Self::timed(config, environment, Arc::default(), Conditions::default())
    }

    /// With a clock that the origin's answers correct too, and the gateway's own log of recurring troubles.
    pub(super) fn timed(
        config: Config,
        environment: Environment,
        clock: Arc<Clock>,
        conditions: Conditions,
    ) -> Self {
        let client = HttpClient::new(&config, &environment, clock, conditions);
        Self {
            config,
            environment,
            client,
        }
    }

    /// A variable that is set to something.
    pub(super) fn variable(&self, name: &str) -> Option<&str> {
        let value = self.environment.get(name).map(|value| trimmed(value));
        value.filter(|value| !value.is_empty())
    }

    /// Whether a variable says `true`, in any case.
    pub(super) fn is_true(&self, name: &str) -> bool {
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
    pub(super) fn home_path(&self, path: &str) -> Option<String> {
        let home = PathBuf::from(self.variable("HOME")?);
        home.join(path).to_str().map(str::to_owned)
    }
}

/// A text without white space and byte order marks around it, which editors and shells leave there unseen.
pub(super) fn trimmed(text: &str) -> &str {
    text.trim_matches(|around: char| around.is_whitespace() || around == BYTE_ORDER_MARK)
}

const BYTE_ORDER_MARK: char = '\u{feff}';

/// Reads a file as it is, but for a byte order mark before it.
pub(super) async fn read(key: &'static str, path: &str) -> Result<String, SourceError> {
    tokio::fs::read_to_string(path)
        .await
        .map(|text| match text.strip_prefix(BYTE_ORDER_MARK) {
            Some(without_bom) => without_bom.to_owned(),
            None => text,
        })
        .map_err(|cause| SourceError::File {
            key,
            path: path.to_owned(),
            cause,
        })
}
