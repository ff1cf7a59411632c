//! The `[shared_cache]` settings.

use redis::{ConnectionAddr, IntoConnectionInfo};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::units::HumanDuration;

/// The `[shared_cache]` settings.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// URL of Redis or Valkey, without a password; nothing is shared without it.
    pub url: Option<String>,
    /// Treats the URL as one node of a cluster.
    pub cluster: bool,
    /// The user to sign in as, where it is not `default`.
    pub username: Option<String>,
    /// File with the user's password, read at each connection.
    pub password_file: Option<String>,
    /// PEM file of roots to trust instead of the system's.
    pub ca_file: Option<String>,
    /// PEM file of this gateway's certificate, where the server asks for one.
    pub cert_file: Option<String>,
    /// PEM file of the key of `cert_file`.
    pub key_file: Option<String>,
    /// Prefix of every key and of the channel: one for each account whose images are shared.
    pub prefix: String,
    /// Time for one command.
    pub timeout: HumanDuration,
    /// Time to connect, TLS and sign-in included.
    pub connect_timeout: HumanDuration,
    /// Time that a replica which has died keeps the others from fetching its image.
    pub lease: HumanDuration,
    /// Number of failed or late commands in a row after which none is sent.
    pub breaker_failures: u32,
    /// Time that no command is sent, at first; it doubles with each failed probe.
    pub breaker_pause: HumanDuration,
    /// Longest time that no command is sent.
    pub breaker_max_pause: HumanDuration,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            url: None,
            cluster: false,
            username: None,
            password_file: None,
            ca_file: None,
            cert_file: None,
            key_file: None,
            prefix: "pai".to_owned(),
            timeout: HumanDuration::millis(20),
            connect_timeout: HumanDuration::secs(1),
            lease: HumanDuration::millis(1500),
            breaker_failures: 5,
            breaker_pause: HumanDuration::secs(1),
            breaker_max_pause: HumanDuration::secs(30),
        }
    }
}

/// Reason why a URL cannot be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BadUrl {
    /// No URL of Redis or Valkey.
    Form,
    /// A user or a password in the URL, which would be logged and shown.
    Secret,
    /// A database number, which a cluster does not have.
    Database,
    /// A Unix socket, by which a cluster cannot be reached.
    Socket,
}

impl BadUrl {
    /// Returns the remedy for the operator.
    #[must_use]
    pub const fn remedy(self) -> &'static str {
        match self {
            Self::Form => {
                "write redis://host:6379, rediss://host:6379 for TLS, or redis+unix:///path"
            }
            Self::Secret => {
                "name the user in shared_cache.username and a file with the password in shared_cache.password_file"
            }
            Self::Database => "name no database: a cluster has one alone",
            Self::Socket => "name a node's host and port: a cluster is not reached by a socket",
        }
    }
}

impl Config {
    /// Checks the URL, if one is set, without connecting.
    ///
    /// # Errors
    /// [`BadUrl`] for the first problem.
    pub fn check_url(&self) -> Result<(), BadUrl> {
        let Some(url) = self.url.as_deref() else {
            return Ok(());
        };
        let info = url.into_connection_info().map_err(|_| BadUrl::Form)?;
        let settings = info.redis_settings();
        let secret = settings.password().is_some() || settings.username().is_some();
        if secret {
            return Err(BadUrl::Secret);
        }
        if self.cluster && settings.db() != 0 {
            return Err(BadUrl::Database);
        }
        if self.cluster && matches!(info.addr(), ConnectionAddr::Unix(_)) {
            return Err(BadUrl::Socket);
        }
        Ok(())
    }

    /// Returns whether the prefix is usable: 1 to 64 characters, without braces, which would decide on which
    /// node a cluster keeps a key, and without characters that an access list cannot name.
    #[must_use]
    pub fn prefix_is_plain(&self) -> bool {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.:/".contains(&byte);
        (1..=64).contains(&self.prefix.len()) && self.prefix.bytes().all(plain)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(url: &str, cluster: bool) -> Result<(), BadUrl> {
        let url = Some(url.to_owned());
        let config = Config {
            url,
            cluster,
            ..Config::default()
        };
        config.check_url()
    }

    #[test]
    fn a_url_is_of_a_server_and_holds_no_secret() {
        for good in [
            "redis://h",
            "redis://h:1",
            "rediss://h/3",
            "redis+unix:///run/r.sock?db=2",
            "valkey://h",
        ] {
            assert_eq!(of(good, false), Ok(()), "{good}");
        }
        assert_eq!(of("rediss://h:1", true), Ok(()));
        for (bad, cluster, why) in [
            ("h:6379", false, BadUrl::Form),
            ("http://h", false, BadUrl::Form),
            ("redis://:secret@h", false, BadUrl::Secret),
            ("redis://user@h", false, BadUrl::Secret),
            ("redis+unix:///s?pass=secret", false, BadUrl::Secret),
            ("redis://h/3", true, BadUrl::Database),
            ("redis+unix:///s", true, BadUrl::Socket),
        ] {
            assert_eq!(of(bad, cluster), Err(why), "{bad}");
        }
    }

    #[test]
    fn a_prefix_leaves_a_clusters_braces_alone() {
        for (prefix, plain) in [("pai", true), ("", false), ("a{b}", false), ("a b", false)] {
            let prefix = prefix.to_owned();
            let config = Config {
                prefix,
                ..Config::default()
            };
            assert_eq!(config.prefix_is_plain(), plain);
        }
    }
}
