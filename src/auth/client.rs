//! A client, and the principal that a request speaks for.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use compact_str::CompactString;
use secrecy::SecretString;

use super::nonces::KeyNonces;
use super::{Budget, Grant, Permission};
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
    pub(super) requests: Arc<Budget>,
    pub(super) misses: Arc<Budget>,
    /// What its key has used, if it signs.
    pub(super) nonces: Option<KeyNonces>,
    pub(super) counted: OnceLock<ClientMetrics>,
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

/// An image that may be shown to who asked. Only [`Principal::reveal`] makes one, and an answer can be
/// made of nothing else.
#[derive(Debug, Clone, Copy)]
pub struct Seen<'a>(&'a Entry);

/// The image may not be shown to who asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Unseen;

impl<'a> Seen<'a> {
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
    pub fn sees(&self, image: &Ownership) -> bool {
        self.grant().is_none_or(|grant| grant.shows(image))
    }

    /// The image, if it may be shown: the only road from an entry to an answer.
    ///
    /// # Errors
    /// [`Unseen`] if it may not.
    pub fn reveal<'a>(&self, entry: &'a Entry) -> Result<Seen<'a>, Unseen> {
        if self.sees(&entry.ownership) {
            Ok(Seen(entry))
        } else {
            Err(Unseen)
        }
    }

    /// Takes a token for a request.
    ///
    /// # Errors
    /// How long until there is one.
    pub fn spend_request(&self) -> Result<(), Duration> {
        match self {
            Self::Anonymous => Ok(()),
            Self::Client(client) => client.requests.spend(),
        }
    }

    /// Takes a token for a call to the origin, or for an answer that must cost what one costs.
    ///
    /// # Errors
    /// How long until there is one.
    pub fn spend_miss(&self) -> Result<(), Duration> {
        match self {
            Self::Anonymous => Ok(()),
            Self::Client(client) => client.misses.spend(),
        }
    }
}

impl Client {
    /// What is counted under its name.
    #[must_use]
    pub fn counted(&self) -> Option<&ClientMetrics> {
        self.counted.get()
    }
}
