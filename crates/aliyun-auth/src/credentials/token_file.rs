//! Bearer token in a file, for a parent gateway: a Kubernetes service account's, which the kubelet replaces before it
//! expires, or any other that the parent knows.

use jiff::Timestamp;
use secrecy::SecretString;

use super::context::{read, trimmed};
use super::{Config, SourceError, UnverifiedClaims};

/// Token with the expiration that it states, if it is a JWT.
pub(super) struct FileToken {
    pub(super) token: SecretString,
    pub(super) expires: Option<Timestamp>,
}

const KEY: &str = "credentials.token_file";

/// Reads the file, anew at each load.
///
/// # Errors
/// [`SourceError`] where the file is not named, cannot be read, is empty, or holds more than one word.
pub(super) async fn load(config: &Config) -> Result<FileToken, SourceError> {
    let path = config.token_file.as_deref().ok_or(SourceError::Missing {
        missing: "credentials.token_file is not set",
        remedy: "name the file that holds the token for the parent gateway",
    })?;
    let text = read(KEY, path).await?;
    let token = trimmed(&text);
    if token.is_empty() {
        let path = path.to_owned();
        return Err(SourceError::Empty { key: KEY, path });
    }
    if !token.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(SourceError::Unusable {
            source_name: "token_file",
            part: "token",
            problem: "has a character in it that cannot stand in a header",
        });
    }
    Ok(FileToken {
        token: token.into(),
        expires: UnverifiedClaims::of(token).and_then(|claims| claims.expires),
    })
}
