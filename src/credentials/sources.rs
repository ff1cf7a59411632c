//! The places a credential can come from.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;

use secrecy::SecretString;

use super::{Config, Loaded, SourceName};
use crate::signing::Credentials;

/// Environment variables, as they were when the process started.
pub type Environment = BTreeMap<String, String>;

/// A place a credential can come from.
pub enum Source {
    /// Files named in the settings.
    Static(Config),
    /// The vendor's environment variables.
    Env(Environment),
}

/// Why a source has no credential, and what to do; never the credential.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// Something was not named.
    #[error("{missing}: {remedy}")]
    Missing {
        /// What was not named.
        missing: &'static str,
        /// What to do.
        remedy: &'static str,
    },
    /// A file could not be read.
    #[error("cannot read {path} (credentials.{key})")]
    File {
        /// The setting that names it.
        key: &'static str,
        /// Which file.
        path: String,
        /// Why.
        #[source]
        cause: io::Error,
    },
    /// A file was read but is empty.
    #[error("{path} (credentials.{key}) is empty")]
    Empty {
        /// The setting that names it.
        key: &'static str,
        /// Which file.
        path: String,
    },
}

impl Source {
    /// The sources that the settings name, in order.
    #[must_use]
    pub fn of_config(config: &Config, environment: &Environment) -> Vec<Self> {
        let files = || Self::Static(config.clone());
        let env = || Self::Env(environment.clone());
        match config.source {
            SourceName::Chain => vec![files(), env()],
            SourceName::Static => vec![files()],
            SourceName::Env => vec![env()],
        }
    }

    /// The name in metrics and `/status`.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Static(_) => "static",
            Self::Env(_) => "env",
        }
    }

    /// Looks.
    ///
    /// # Errors
    /// [`SourceError`] when the credential is not there whole.
    pub async fn load(&self) -> Result<Loaded, SourceError> {
        let credentials = match self {
            Self::Static(config) => from_files(config).await?,
            Self::Env(environment) => from_variables(environment)?,
        };
        Ok(Loaded {
            credentials: Arc::new(credentials),
            source: self.name(),
            expires: None,
        })
    }
}

async fn from_files(config: &Config) -> Result<Credentials, SourceError> {
    let secret_file = config
        .access_key_secret_file
        .as_deref()
        .ok_or(SourceError::Missing {
            missing: "credentials.access_key_secret_file is not set",
            remedy: "name the file that holds the key's secret",
        })?;
    let access_key_id = match (&config.access_key_id, &config.access_key_id_file) {
        (Some(id), _) => id.clone(),
        (None, Some(file)) => read("access_key_id_file", file).await?,
        (None, None) => {
            return Err(SourceError::Missing {
                missing: "credentials.access_key_id is not set",
                remedy: "set it, or name the file that holds it in credentials.access_key_id_file",
            });
        }
    };
    let security_token = match &config.security_token_file {
        Some(file) => Some(SecretString::from(read("security_token_file", file).await?)),
        None => None,
    };
    let access_key_secret = SecretString::from(read("access_key_secret_file", secret_file).await?);
    Ok(Credentials {
        access_key_id,
        access_key_secret,
        security_token,
    })
}

/// Reads a file that holds one value; white space around it does not count.
async fn read(key: &'static str, path: &str) -> Result<String, SourceError> {
    let text = tokio::fs::read_to_string(path)
        .await
        .map_err(|cause| SourceError::File {
            key,
            path: path.to_owned(),
            cause,
        })?;
    match text.trim() {
        "" => Err(SourceError::Empty {
            key,
            path: path.to_owned(),
        }),
        value => Ok(value.to_owned()),
    }
}

fn from_variables(environment: &Environment) -> Result<Credentials, SourceError> {
    let variable = |name: &str| {
        environment
            .get(name)
            .filter(|value| !value.is_empty())
            .cloned()
    };
    let missing = |missing| SourceError::Missing {
        missing,
        remedy: "set it, or use another source",
    };
    let access_key_id = variable("ALIBABA_CLOUD_ACCESS_KEY_ID")
        .ok_or_else(|| missing("ALIBABA_CLOUD_ACCESS_KEY_ID is not set"))?;
    let secret = variable("ALIBABA_CLOUD_ACCESS_KEY_SECRET")
        .ok_or_else(|| missing("ALIBABA_CLOUD_ACCESS_KEY_SECRET is not set"))?;
    let security_token = variable("ALIBABA_CLOUD_SECURITY_TOKEN").map(SecretString::from);
    Ok(Credentials {
        access_key_id,
        access_key_secret: SecretString::from(secret),
        security_token,
    })
}
