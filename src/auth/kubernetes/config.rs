//! The `[auth.kubernetes]` settings.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::units::HumanDuration;

/// Service accounts of a Kubernetes cluster as clients: the issuer of their tokens, and its public keys.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Issuer of the tokens, exactly as their `iss`; without one no service account authenticates.
    pub issuer: Option<String>,
    /// Audience that a token must be issued for.
    pub audience: String,
    /// URL of the issuer's public keys, a JSON Web Key Set.
    pub jwks_url: Option<String>,
    /// File with the issuer's public keys, instead of `jwks_url`.
    pub jwks_file: Option<String>,
    /// PEM file of roots to trust instead of the system's for `jwks_url`.
    pub ca_file: Option<String>,
    /// File with a bearer token for `jwks_url`, read again for each request.
    pub token_file: Option<String>,
    /// Time between two loads of the public keys.
    pub refresh: HumanDuration,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            issuer: None,
            audience: "pai-image-gateway".to_owned(),
            jwks_url: None,
            jwks_file: None,
            ca_file: None,
            token_file: None,
            refresh: HumanDuration::secs(300),
        }
    }
}

impl Config {
    /// Returns whether any setting of the section has another value than its default.
    #[must_use]
    pub fn is_set(&self) -> bool {
        *self != Self::default()
    }
}
