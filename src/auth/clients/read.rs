//! Parsing of the clients' file: every `[[client]]` table, with a list of all problems.

use std::num::NonZeroU32;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use toml::{Table, Value};

use super::fields::TableReader;
use super::{Client, ClientCredentials};
use crate::auth::nonces::Nonces;
use crate::auth::{Grant, RateLimiter};
use crate::signing::VerifyingKey;

/// Clients with their credentials, and the files that the secrets came from.
pub(super) struct ParsedClients {
    pub(super) clients: Vec<(Client, ClientCredentials)>,
    pub(super) secret_files: Vec<PathBuf>,
}

/// Misses per second of a client without `misses_per_second`: 0.95 of the documented 50 GetImage calls per second.
const MISSES: NonZeroU32 = NonZeroU32::new(47).expect("47 is not zero");

/// Parses the text of a clients' file; paths in it are relative to `folder`.
///
/// # Errors
/// Every problem that was found, one line each. No line quotes a value.
pub(super) fn read(
    text: &str,
    folder: &Path,
    nonces: &Arc<Nonces>,
) -> Result<ParsedClients, Vec<String>> {
    // The parser's error would quote the line, and with it perhaps a secret.
    let file: Table = text.parse().map_err(|error: toml::de::Error| {
        let before = error.span().map_or(0, |span| span.start);
        let line = text
            .get(..before)
            .map_or(1, |head| head.lines().count().max(1));
        vec![format!("line {line} is not TOML")]
    })?;
    let mut problems = Vec::new();
    for name in file.keys().filter(|name| *name != "client") {
        problems.push(format!(
            "\"{name}\" is unknown: write [[client]] tables alone"
        ));
    }
    let (mut clients, mut secret_files) = (Vec::new(), Vec::new());
    let empty = Vec::new();
    let tables = match file.get("client") {
        None => &empty,
        Some(Value::Array(tables)) => tables,
        Some(_) => {
            problems.push("write each client as a [[client]] table".to_owned());
            &empty
        }
    };
    for (at, table) in tables.iter().enumerate() {
        let Value::Table(table) = table else {
            problems.push("write each client as a [[client]] table".to_owned());
            continue;
        };
        let name = table.get("name").and_then(Value::as_str);
        let title = name.map_or_else(
            || format!("client {}", at + 1),
            |name| format!("client \"{name}\""),
        );
        let mut reader = TableReader {
            table,
            title,
            folder,
            problems: &mut problems,
            secret_files: &mut secret_files,
        };
        clients.push(reader.client(nonces));
    }
    if problems.is_empty() {
        Ok(ParsedClients {
            clients,
            secret_files,
        })
    } else {
        Err(problems)
    }
}

impl TableReader<'_> {
    fn client(&mut self, nonces: &Arc<Nonces>) -> (Client, ClientCredentials) {
        self.unknown_keys();
        let name = self.name();
        let access_key_id = self.access_key_id();
        let keys: Vec<VerifyingKey> = self
            .secrets("access_key_secret_file", 2)
            .iter()
            .map(VerifyingKey::new)
            .collect();
        let token = self.secrets("security_token_file", 1).pop();
        let has = |key: &str| self.table.contains_key(key);
        if has("access_key_id") != has("access_key_secret_file") {
            self.wrong(
                "access_key_id",
                "goes with access_key_secret_file: write both or neither",
            );
        }
        if has("security_token_file") && !has("access_key_id") {
            self.wrong(
                "security_token_file",
                "goes with access_key_id and access_key_secret_file",
            );
        }
        let ways = [
            "access_key_id",
            "bearer_sha256",
            "mtls_name",
            "service_account",
        ];
        if !ways.into_iter().any(has) {
            self.wrong(
                "access_key_id",
                "no way to sign in: write access_key_id, bearer_sha256, mtls_name or service_account",
            );
        }
        let proofs = ClientCredentials {
            tokens: self.tokens(),
            certificates: self.texts("mtls_name", usize::MAX),
            service_accounts: self.service_accounts(),
        };
        let misses = self.rate("misses_per_second").unwrap_or(MISSES);
        let client = Client {
            name,
            grant: self.grant(),
            keys,
            token,
            requests: Arc::new(RateLimiter::new(self.rate("requests_per_second"))),
            misses: Arc::new(RateLimiter::new(Some(misses))),
            nonces: access_key_id.as_deref().map(|id| nonces.of(id)),
            access_key_id,
            metrics: OnceLock::new(),
        };
        (client, proofs)
    }

    fn grant(&mut self) -> Grant {
        Grant {
            permissions: self.permissions(),
            workspaces: self.allowed("workspaces"),
            users: self.allowed("users"),
            official: match self.table.get("official") {
                None => false,
                Some(Value::Boolean(official)) => *official,
                Some(_) => {
                    self.wrong("official", "write true or false");
                    false
                }
            },
        }
    }
}
