//! Credential in files that the settings name: a Kubernetes Secret, systemd's LoadCredential.

use super::context::{read, trimmed};
use super::response::FetchedCredentials;
use super::{Config, SourceError};

/// Reads id, secret and token from their files, anew at each load, so that a rotated Secret is used without a
/// restart.
pub(super) async fn load(config: &Config) -> Result<FetchedCredentials, SourceError> {
    let secret_file = config
        .access_key_secret_file
        .as_deref()
        .ok_or(SourceError::Missing {
            missing: "credentials.access_key_secret_file is not set",
            remedy: "name the file that holds the key's secret",
        })?;
    let access_key_id = match (&config.access_key_id, &config.access_key_id_file) {
        (Some(id), _) => id.clone(),
        (None, Some(file)) => value("credentials.access_key_id_file", file).await?,
        (None, None) => {
            return Err(SourceError::Missing {
                missing: "credentials.access_key_id is not set",
                remedy: "set it, or name the file that holds it in credentials.access_key_id_file",
            });
        }
    };
    let security_token = match &config.security_token_file {
        Some(file) => Some(value("credentials.security_token_file", file).await?),
        None => None,
    };
    let secret = value("credentials.access_key_secret_file", secret_file).await?;
    Ok(FetchedCredentials::without_expiry(
        &access_key_id,
        &secret,
        security_token.as_deref(),
    ))
}

/// Reads a file that holds one value, and trims it.
///
/// # Errors
/// [`SourceError::File`] when it cannot be read, [`SourceError::Empty`] when nothing but white space is in it.
async fn value(key: &'static str, path: &str) -> Result<String, SourceError> {
    match trimmed(&read(key, path).await?) {
        "" => Err(SourceError::Empty {
            key,
            path: path.to_owned(),
        }),
        value => Ok(value.to_owned()),
    }
}
