//! Clients, principals, and the proof that a principal may view an image.

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

/// One `[[client]]` of the clients' file, with its secrets and its state.
pub struct Client {
    /// Unique name; value of the `client` label.
    pub name: CompactString,
    /// Permissions and visible images.
    pub grant: Grant,
    /// Id of the access key, for a client that signs.
    pub(super) access_key_id: Option<CompactString>,
    /// Secrets of the key; two during a rotation.
    pub(super) keys: Vec<VerifyingKey>,
    /// Security token that must accompany the key.
    pub(super) token: Option<SecretString>,
    pub(super) requests: Arc<RateLimiter>,
    pub(super) misses: Arc<RateLimiter>,
    /// Nonces that the key has used, for a client that signs.
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

/// Identity that a request acts for.
#[derive(Debug, Clone)]
pub enum Principal {
    /// Any client of a gateway without authentication; it may do and view everything.
    Anonymous,
    /// Authenticated client.
    Client(Arc<Client>),
}

/// Image that the principal may view. Only [`Principal::authorize`] makes this type, and a response with an image can
/// be made from nothing else, so no code path can skip the check.
#[derive(Debug, Clone, Copy)]
pub struct Visible<'a>(&'a Entry);

/// Error: the principal may not view the image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Hidden;

impl<'a> Visible<'a> {
    /// Returns the cache entry of the image.
    #[must_use]
    pub const fn entry(self) -> &'a Entry {
        self.0
    }
}

impl Principal {
    /// Returns the name for logs, metrics and audit records.
    #[must_use]
    pub fn name(&self) -> &str {
        match self {
            Self::Anonymous => "anonymous",
            Self::Client(client) => &client.name,
        }
    }

    /// Returns whether the gateway runs without authentication.
    #[must_use]
    pub const fn is_anonymous(&self) -> bool {
        matches!(self, Self::Anonymous)
    }

    /// Returns the grant; `None` if everything is allowed.
    #[must_use]
    pub fn grant(&self) -> Option<&Grant> {
        match self {
            Self::Anonymous => None,
            Self::Client(client) => Some(&client.grant),
        }
    }

    /// Returns whether the principal has a permission.
    #[must_use]
    pub fn may(&self, permission: Permission) -> bool {
        self.grant()
            .is_none_or(|grant| grant.permissions.contains(&permission))
    }

    /// Returns whether the principal may view an image with these fields.
    #[must_use]
    pub fn may_view(&self, image: &Ownership) -> bool {
        self.grant().is_none_or(|grant| grant.allows_viewing(image))
    }

    /// Authorizes a view of a cached image. There is no other way from an entry to a response.
    ///
    /// # Errors
    /// [`Hidden`] if the grant does not include the image.
    pub fn authorize<'a>(&self, entry: &'a Entry) -> Result<Visible<'a>, Hidden> {
        if self.may_view(&entry.ownership) {
            Ok(Visible(entry))
        } else {
            Err(Hidden)
        }
    }

    /// Takes a token of the client's request limit.
    ///
    /// # Errors
    /// Time until the next token.
    pub fn try_acquire_request(&self) -> Result<(), Duration> {
        match self {
            Self::Anonymous => Ok(()),
            Self::Client(client) => client.requests.try_acquire(),
        }
    }

    /// Takes a token of the client's miss limit: for a call to the origin, and for a denial from cache, which must
    /// cost the same.
    ///
    /// # Errors
    /// Time until the next token.
    pub fn try_acquire_miss(&self) -> Result<(), Duration> {
        match self {
            Self::Anonymous => Ok(()),
            Self::Client(client) => client.misses.try_acquire(),
        }
    }
}

impl Client {
    /// Returns the metrics under the client's name; `None` until they are registered.
    #[must_use]
    pub fn metrics(&self) -> Option<&ClientMetrics> {
        self.metrics.get()
    }
}
