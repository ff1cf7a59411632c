//! Who may ask: the `[auth]` settings.

use serde::{Deserialize, Serialize};

/// The `[auth]` settings.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Whether clients must sign in.
    pub mode: Mode,
    /// Where the clients' keys and permissions are, for `required`.
    pub clients_file: String,
}

/// Whether clients must sign in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// Everybody who can reach the socket is `anonymous` and sees all; only on loopback or a Unix socket.
    None,
    /// Every request carries a credential from `clients_file`.
    Required,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            mode: Mode::None,
            clients_file: "clients.toml".to_owned(),
        }
    }
}
