//! The `[admin]` and `[observe]` settings.

use std::fs;
use std::io;

use schemars::JsonSchema;
use secrecy::SecretString;
use serde::{Deserialize, Serialize};

use crate::server::Address;

/// The `[admin]` settings.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// IP address and port; port 0 takes a free one.
    pub address: String,
    /// Path of a Unix socket to listen on instead.
    pub unix: Option<String>,
    /// File with the bearer token that the admin pages need.
    pub token_file: Option<String>,
}

/// The `[observe]` settings.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ObserveConfig {
    /// IP address and port of a listener with probes and metrics alone.
    pub address: Option<String>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            address: "127.0.0.1:9901".to_owned(),
            unix: None,
            token_file: None,
        }
    }
}

impl Config {
    /// Returns the address to listen on; `None` when `address` cannot be parsed.
    #[must_use]
    pub fn listener(&self) -> Option<Address> {
        Address::parse(&self.address, self.unix.as_deref(), 0o600)
    }

    /// Reads the bearer token from its file; `None` when no file is set.
    ///
    /// # Errors
    /// A file that cannot be read or is empty: an empty token would let everybody in.
    pub fn token(&self) -> io::Result<Option<SecretString>> {
        let Some(path) = &self.token_file else {
            return Ok(None);
        };
        let text = fs::read_to_string(path)?;
        match text.trim() {
            "" => Err(io::Error::other("the token file is empty")),
            token => Ok(Some(SecretString::from(token))),
        }
    }
}
