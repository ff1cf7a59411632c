//! Inputs of every source: the settings, the environment and the HTTP client.

use std::path::PathBuf;
use std::sync::Arc;

use super::client::HttpClient;
use super::{Config, Observer, SourceError};
use crate::clock::Clock;
use host::environment::Environment;

/// Inputs of every source. A setting overrides the vendor's variable of the same meaning.
pub struct Context {
    pub(super) config: Config,
    pub(super) environment: Environment,
    pub(super) client: HttpClient,
    pub(super) observer: Arc<dyn Observer>,
}

impl Context {
    #[cfg(test)]
    pub(super) fn new(config: Config, environment: Environment) -> Self {
        Self::timed(
            config,
            environment,
            Arc::default(),
            Arc::new(super::Unobserved),
        )
    }

    /// Builds a context with the clock that the origin's responses correct too, and with the receiver of
    /// events.
    pub(super) fn timed(
        config: Config,
        environment: Environment,
        clock: Arc<Clock>,
        observer: Arc<dyn Observer>,
    ) -> Self {
        let client = HttpClient::new(&config, &environment, clock);
        Self {
            config,
            environment,
            client,
            observer,
        }
    }

    /// Returns a variable, trimmed; `None` when it is unset or empty.
    pub(super) fn variable(&self, name: &str) -> Option<&str> {
        let value = self.environment.get(name).map(|value| trimmed(value));
        value.filter(|value| !value.is_empty())
    }

    /// Tells whether a variable is `true`, in upper or lower case.
    pub(super) fn is_true(&self, name: &str) -> bool {
        self.variable(name)
            .is_some_and(|value| value.eq_ignore_ascii_case("true"))
    }

    /// Returns a setting, or else the variable.
    pub(super) fn named(&self, setting: Option<&str>, variable: &str) -> Option<String> {
        setting
            .or_else(|| self.variable(variable))
            .map(str::to_owned)
    }

    /// Returns a path below `HOME`; `None` where that is unset or the path is not UTF-8.
    pub(super) fn home_path(&self, path: &str) -> Option<String> {
        let home = PathBuf::from(self.variable("HOME")?);
        home.join(path).to_str().map(str::to_owned)
    }
}

/// Removes white space and byte order marks around a text, which editors and shells leave there unseen.
pub(super) fn trimmed(text: &str) -> &str {
    text.trim_matches(|around: char| around.is_whitespace() || around == BYTE_ORDER_MARK)
}

const BYTE_ORDER_MARK: char = '\u{feff}';

/// Reads a file as text, without the byte order mark at its start.
///
/// # Errors
/// [`SourceError::File`] with `key`, the setting that names the file.
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
