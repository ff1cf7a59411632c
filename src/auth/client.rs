//! A client, and the principal that a request speaks for.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use compact_str::CompactString;
use secrecy::SecretString;

use super::nonces::KeyNonces;
use super::{Grant, Permission, RateLimiter};
use crate::api::Ownership;
use crate::cache::Entry;
use crate::observability::metrics::ClientMetrics;
use crate::signing::VerifyingKey;

/// One `[[client]]` of the clients' file.
pub struct Client {
    /// Its name, unique; the `client` label.
    pub name: CompactString,
    /// What it may do and see.
    pub grant: Grant,
    /// The id of its key, if it signs.
    pub(super) access_key_id: Option<CompactString>,
    /// The key's secrets: two while it is being rotated.
    pub(super) keys: Vec<VerifyingKey>,
    /// The token that goes with the key.
    pub(super) token: Option<SecretString>,
    pub(super) requests: Arc<RateLimiter>,
    pub(super) misses: Arc<RateLimiter>,
    /// What its key has used, if it signs.
    pub(super) nonces: Option<KeyNonces>,
    pub(super) metrics: OnceLock<ClientMetrics>,
}

impl std::fmt::Debug for Client {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut shown = f.debug_struct("Client");
        shown.field("name", &self.name).field("grant", &self.grant);
        shown.finish_non_exhaustive()
    }
}

/// Whom a request speaks for.
#[derive(Debug, Clone)]
pub enum Principal {
    /// Nobody signs in here; everybody sees all.
    Anonymous,
    /// A client that has signed in.
    Client(Arc<Client>),
}

/// An image that may be shown to who asked. Only [`Principal::authorize`] makes one, and an answer can be
/// made of nothing else.
#[derive(Debug, Clone, Copy)]
pub struct Visible<'a>(&'a Entry);

/// The image may not be shown to who asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Hidden;

impl<'a> Visible<'a> {
    /// The image.
    #[must_use]
    pub const fn entry(self) -> &'a Entry {
        self.0
    }
}

impl Principal {
    /// The name in logs, metrics and the audit.
    #[must_use]
    pub fn name(&self) -> &str {
        match self {
            Self::Anonymous => "anonymous",
            Self::Client(client) => &client.name,
        }
    }

    /// Whether nobody signs in here.
    #[must_use]
    pub const fn is_anonymous(&self) -> bool {
        matches!(self, Self::Anonymous)
    }

    /// What was granted; `None` for everything.
    #[must_use]
    pub fn grant(&self) -> Option<&Grant> {
        match self {
            Self::Anonymous => None,
            Self::Client(client) => Some(&client.grant),
        }
    }

    /// Whether it may do this.
    #[must_use]
    pub fn may(&self, permission: Permission) -> bool {
        self.grant()
            .is_none_or(|grant| grant.permissions.contains(&permission))
    }

    /// Whether it may see an image of such ownership: the one decision on every answer.
    #[must_use]
    pub fn may_view(&self, image: &Ownership) -> bool {
        self.grant().is_none_or(|grant| grant.allows_viewing(image))
    }

    /// The image, if it may be shown: the only road from an entry to an answer.
    ///
    /// # Errors
    /// [`Hidden`] if it may not.
    pub fn authorize<'a>(&self, entry: &'a Entry) -> Result<Visible<'a>, Hidden> {
        if self.may_view(&entry.ownership) {
            Ok(Visible(entry))
        } else {
            Err(Hidden)
        }
    }

    /// Takes a token for a request.
    ///
    /// # Errors
    /// How long until there is one.
    pub fn try_acquire_request(&self) -> Result<(), Duration> {
        match self {
            Self::Anonymous => Ok(()),
            Self::Client(client) => client.requests.try_acquire(),
        }
    }

    /// Takes a token for a call to the origin, or for an answer that must cost what one costs.
    ///
    /// # Errors
    /// How long until there is one.
    pub fn try_acquire_miss(&self) -> Result<(), Duration> {
        match self {
            Self::Anonymous => Ok(()),
            Self::Client(client) => client.misses.try_acquire(),
        }
    }
}

impl Client {
    /// What is metrics under its name.
    #[must_use]
    pub fn metrics(&self) -> Option<&ClientMetrics> {
        self.metrics.get()
    }
}
