//! The clients' file, `clients.toml`: clients, their credentials and their grants.
//!
//! The file contains no secret, only paths of files with secrets. Problems are reported all at once. They never quote
//! a value, because the file may contain a secret in a wrong place.

mod fields;
mod file;
mod issue;
mod read;
mod remove;
mod rotate;
mod summary;

use std::collections::HashMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use compact_str::CompactString;

use super::Config;
use super::client::Client;
use super::nonces::Nonces;
use crate::bounded_read;
use crate::observability::metrics::Metrics;
pub use file::{ClientsFile, EditError};
pub use issue::{IssuedKey, NewClient};
pub use rotate::{DroppedFiles, OldSecret, Rotation};
pub use summary::ClientSummary;

/// All clients of a clients' file, indexed by each form of credential.
#[derive(Debug)]
pub struct Clients {
    by_name: HashMap<CompactString, Arc<Client>>,
    /// Searched for each signed request.
    by_key: HashMap<CompactString, Arc<Client>, foldhash::fast::RandomState>,
    by_token: HashMap<[u8; 32], Arc<Client>>,
    by_certificate: HashMap<CompactString, Arc<Client>>,
    /// By `NAMESPACE:NAME`, as in the tokens.
    by_service_account: HashMap<CompactString, Arc<Client>>,
    secret_files: Vec<PathBuf>,
}

/// Problems of a clients' file, at least one. Each line names the client, the key and the remedy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InvalidClients(pub Vec<String>);

impl fmt::Display for InvalidClients {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.join("; "))
    }
}

impl std::error::Error for InvalidClients {}

/// Credentials of one client other than its access key.
#[derive(Debug, Default)]
struct ClientCredentials {
    tokens: Vec<[u8; 32]>,
    certificates: Vec<CompactString>,
    service_accounts: Vec<CompactString>,
}

impl Clients {
    /// Reads a clients' file and the secrets that it names; relative paths start at its folder. A client that was also
    /// in `before` keeps the state of its rate limiters, and its nonces stay with its key.
    ///
    /// # Errors
    /// [`InvalidClients`] with every problem of the file.
    pub(in crate::auth) fn load(
        path: &Path,
        nonces: &Arc<Nonces>,
        before: Option<&Self>,
    ) -> Result<Self, InvalidClients> {
        let text = bounded_read::read_to_string(path).map_err(|error| {
            let place = path.display();
            InvalidClients(vec![format!(
                "{place} cannot be read ({error}): write the clients there, or name another file"
            )])
        })?;
        let folder = path.parent().unwrap_or(Path::new(""));
        Self::parse(&text, folder, nonces, before)
    }

    /// Parses the text of a clients' file that is not in use, with nonces and limits of its own.
    ///
    /// # Errors
    /// [`InvalidClients`] with every problem of the text.
    pub fn check(text: &str, folder: &Path) -> Result<Self, InvalidClients> {
        Self::parse(text, folder, &Nonces::new(&Config::default()), None)
    }

    /// Parses the text of a clients' file, as [`Clients::load`] does.
    ///
    /// # Errors
    /// [`InvalidClients`] with every problem of the text.
    pub(in crate::auth) fn parse(
        text: &str,
        folder: &Path,
        nonces: &Arc<Nonces>,
        before: Option<&Self>,
    ) -> Result<Self, InvalidClients> {
        let read = read::read(text, folder, nonces).map_err(InvalidClients)?;
        let mut clients = Self {
            by_name: HashMap::new(),
            by_key: HashMap::default(),
            by_token: HashMap::new(),
            by_certificate: HashMap::new(),
            by_service_account: HashMap::new(),
            secret_files: read.secret_files,
        };
        let mut problems = Vec::new();
        for (mut client, proofs) in read.clients {
            if let Some(known) = before.and_then(|before| before.by_name.get(&client.name)) {
                client.inherit_limits(known);
            }
            clients.add(client, proofs, &mut problems);
        }
        if problems.is_empty() {
            Ok(clients)
        } else {
            Err(InvalidClients(problems))
        }
    }

    fn add(&mut self, client: Client, proofs: ClientCredentials, problems: &mut Vec<String>) {
        let client = Arc::new(client);
        let name = &client.name;
        let mut unique = |taken: Option<Arc<Client>>, what: &str| {
            if taken.is_some() {
                problems.push(format!(
                    "client \"{name}\": {what} is another client's too: give each its own"
                ));
            }
        };
        let share = || Arc::clone(&client);
        unique(self.by_name.insert(name.clone(), share()), "name");
        if let Some(key) = &client.access_key_id {
            unique(self.by_key.insert(key.clone(), share()), "access_key_id");
        }
        for token in proofs.tokens {
            unique(self.by_token.insert(token, share()), "bearer_sha256");
        }
        for certificate in proofs.certificates {
            unique(
                self.by_certificate.insert(certificate, share()),
                "mtls_name",
            );
        }
        for account in proofs.service_accounts {
            unique(
                self.by_service_account.insert(account, share()),
                "service_account",
            );
        }
    }

    /// Returns whether a client of this name exists.
    #[must_use]
    pub fn has(&self, name: &str) -> bool {
        self.by_name.contains_key(name)
    }

    /// Iterates over the names of the clients, in no particular order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.by_name.keys().map(CompactString::as_str)
    }

    /// Returns the paths of the files with secrets.
    #[must_use]
    pub fn secret_files(&self) -> &[PathBuf] {
        &self.secret_files
    }

    pub(super) fn by_key(&self, access_key_id: &str) -> Option<&Arc<Client>> {
        self.by_key.get(access_key_id)
    }

    pub(super) fn by_token(&self, hash: &[u8]) -> Option<Arc<Client>> {
        self.by_token.get(hash).cloned()
    }

    pub(super) fn by_certificate_name(&self, certificate: &str) -> Option<Arc<Client>> {
        self.by_certificate.get(certificate).cloned()
    }

    /// Returns the client of a service account, given as `NAMESPACE:NAME`.
    pub(super) fn by_service_account(&self, account: &str) -> Option<Arc<Client>> {
        self.by_service_account.get(account).cloned()
    }

    /// Returns whether any client signs in by service account.
    pub(super) fn has_service_accounts(&self) -> bool {
        !self.by_service_account.is_empty()
    }

    /// Checks that no client signs in by service account unless their tokens can be verified.
    ///
    /// # Errors
    /// [`InvalidClients`] that names the setting.
    pub(super) fn check_service_accounts(&self, is_set_up: bool) -> Result<(), InvalidClients> {
        let client = self.by_service_account.values().next();
        match client.filter(|_| !is_set_up) {
            None => Ok(()),
            Some(client) => Err(InvalidClients(vec![format!(
                "client \"{}\": service_account: its tokens cannot be verified: set auth.kubernetes.issuer, and jwks_url or jwks_file",
                client.name
            )])),
        }
    }

    /// Registers the metrics of each client that has none yet.
    pub(super) fn register_metrics(&self, metrics: &Metrics) {
        for client in self.by_name.values() {
            client.metrics.get_or_init(|| metrics.client(&client.name));
        }
    }
}

impl Client {
    /// Shares the rate limiters of the same client in the previous file, where their rates are equal. A reload thus
    /// gives no client a full bucket.
    fn inherit_limits(&mut self, before: &Self) {
        for (mine, theirs) in [
            (&mut self.requests, &before.requests),
            (&mut self.misses, &before.misses),
        ] {
            if mine.per_second() == theirs.per_second() {
                *mine = Arc::clone(theirs);
            }
        }
    }
}

#[cfg(test)]
mod tests;
