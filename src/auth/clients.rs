//! The clients' file, `clients.toml`: who may come in, and with what.
//!
//! It names secrets' files and holds no secret itself. What is wrong is told all at once, and never by
//! quoting a value: somebody may have put a secret in the wrong place.

mod fields;
mod issue;
mod read;

use std::collections::HashMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use compact_str::CompactString;

use super::client::Client;
use super::nonces::Nonces;
use crate::bounded_read;
use crate::observability::metrics::Metrics;
pub use issue::{IssueError, IssuedKey, NewClient};

/// Everybody who may come in.
#[derive(Debug)]
pub struct Clients {
    by_name: HashMap<CompactString, Arc<Client>>,
    by_key: HashMap<CompactString, Arc<Client>>,
    by_token: HashMap<[u8; 32], Arc<Client>>,
    by_certificate: HashMap<CompactString, Arc<Client>>,
    secret_files: Vec<PathBuf>,
}

/// Everything that is wrong with a clients' file, at least one thing: each line names the client, the
/// key and what to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InvalidClients(pub Vec<String>);

impl fmt::Display for InvalidClients {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.join("; "))
    }
}

impl std::error::Error for InvalidClients {}

/// How one client may prove who it is.
#[derive(Debug, Default)]
struct ClientCredentials {
    tokens: Vec<[u8; 32]>,
    certificates: Vec<CompactString>,
}

impl Clients {
    /// Reads a clients' file and the secrets it names; those paths count from its folder. Who was a
    /// client `before` keeps the budgets it has used up; `nonces` go by key.
    ///
    /// # Errors
    /// [`InvalidClients`].
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

    /// Reads the text of a clients' file.
    ///
    /// # Errors
    /// [`InvalidClients`].
    pub(in crate::auth) fn parse(
        text: &str,
        folder: &Path,
        nonces: &Arc<Nonces>,
        before: Option<&Self>,
    ) -> Result<Self, InvalidClients> {
        let read = read::read(text, folder, nonces).map_err(InvalidClients)?;
        let mut clients = Self {
            by_name: HashMap::new(),
            by_key: HashMap::new(),
            by_token: HashMap::new(),
            by_certificate: HashMap::new(),
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
    }

    /// Whether there is a client of this name.
    #[must_use]
    pub fn has(&self, name: &str) -> bool {
        self.by_name.contains_key(name)
    }

    /// The clients' names.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.by_name.keys().map(CompactString::as_str)
    }

    /// The files that the secrets were read from.
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

    /// Has each client metrics under its name.
    pub(super) fn register_metrics(&self, metrics: &Metrics) {
        for client in self.by_name.values() {
            client.metrics.get_or_init(|| metrics.client(&client.name));
        }
    }
}

impl Client {
    /// Takes over the budgets that the same client has used up under the file before, where their rates
    /// are the same.
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
