//! Reading one `[[client]]` table after another, and noting what is wrong.

use std::collections::BTreeSet;
use std::num::NonZeroU32;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use compact_str::CompactString;
use secrecy::SecretString;
use toml::{Table, Value};

use super::{Client, ClientCredentials};
use crate::auth::nonces::Nonces;
use crate::auth::{Allowed, Grant, Permission, RateLimiter};
use crate::bounded_read;
use crate::signing::{VerifyingKey, unhex};

/// What was read.
pub(super) struct ParsedClients {
    pub(super) clients: Vec<(Client, ClientCredentials)>,
    pub(super) secret_files: Vec<PathBuf>,
}

/// Misses a second of a client whose file names none: GetImage's pace, 0.95 of the documented 50 calls a second.
const MISSES: NonZeroU32 = NonZeroU32::new(47).expect("47 is not zero");

const KEYS: [&str; 12] = [
    "name",
    "access_key_id",
    "access_key_secret_file",
    "security_token_file",
    "bearer_sha256",
    "mtls_name",
    "permissions",
    "workspaces",
    "users",
    "official",
    "requests_per_second",
    "misses_per_second",
];

/// Names that metrics use for requests of no client.
const RESERVED: [&str; 2] = ["anonymous", "unauthenticated"];

pub(super) fn read(
    text: &str,
    folder: &Path,
    nonces: &Arc<Nonces>,
) -> Result<ParsedClients, Vec<String>> {
    // The error itself would quote the line, and with it perhaps a secret.
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

/// What a client may be called.
pub(super) const NAMES: &str = "write up to 64 of A-Z a-z 0-9 _ . -, beginning with a letter or digit; anonymous and unauthenticated are taken";

pub(super) fn is_name(name: &str) -> bool {
    let mut characters = name.chars();
    characters
        .next()
        .is_some_and(|first| first.is_ascii_alphanumeric())
        && characters.all(|c| c.is_ascii_alphanumeric() || "_.-".contains(c))
        && name.len() <= 64
        && !RESERVED.contains(&name)
}

struct TableReader<'a> {
    table: &'a Table,
    title: String,
    folder: &'a Path,
    problems: &'a mut Vec<String>,
    secret_files: &'a mut Vec<PathBuf>,
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
        if !["access_key_id", "bearer_sha256", "mtls_name"]
            .into_iter()
            .any(has)
        {
            self.wrong(
                "access_key_id",
                "no way to sign in: write access_key_id, bearer_sha256 or mtls_name",
            );
        }
        let proofs = ClientCredentials {
            tokens: self.tokens(),
            certificates: self.texts("mtls_name", usize::MAX),
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
            workspaces: self.scope("workspaces"),
            users: self.scope("users"),
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

    fn wrong(&mut self, key: &str, remedy: &str) {
        let title = &self.title;
        self.problems.push(format!("{title}: {key}: {remedy}"));
    }

    fn unknown_keys(&mut self) {
        let unknown: Vec<&String> = self
            .table
            .keys()
            .filter(|key| !KEYS.contains(&key.as_str()))
            .collect();
        for key in unknown {
            let remedy = if key == "access_key_secret" || key == "security_token" {
                format!(
                    "secrets do not belong here: put it into a file and name that in {key}_file"
                )
            } else {
                let near = KEYS.iter().max_by(|one, other| {
                    strsim::jaro_winkler(one, key).total_cmp(&strsim::jaro_winkler(other, key))
                });
                format!("unknown; the nearest is {}", near.unwrap_or(&"name"))
            };
            self.wrong(key, &remedy);
        }
    }

    fn name(&mut self) -> CompactString {
        let name = self.table.get("name").and_then(Value::as_str).unwrap_or("");
        if !is_name(name) {
            self.wrong("name", NAMES);
        }
        name.into()
    }

    fn access_key_id(&mut self) -> Option<CompactString> {
        let id = match self.table.get("access_key_id")? {
            Value::String(id) => id.as_str(),
            _ => "",
        };
        let sound = !id.is_empty()
            && id
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b));
        if !sound {
            self.wrong("access_key_id", "write letters, digits, and . _ -");
        }
        Some(id.into())
    }

    /// A text, or a list of at most so many.
    fn texts(&mut self, key: &str, most: usize) -> Vec<CompactString> {
        let found: Option<Vec<CompactString>> = match self.table.get(key) {
            None => return Vec::new(),
            Some(Value::String(text)) => Some(vec![text.into()]),
            Some(Value::Array(list)) => list
                .iter()
                .map(|item| item.as_str().map(CompactString::from))
                .collect(),
            Some(_) => None,
        };
        let sound = found.filter(|list| {
            !list.is_empty() && list.len() <= most && list.iter().all(|text| !text.is_empty())
        });
        sound.unwrap_or_else(|| {
            self.wrong(
                key,
                &format!(
                    "write a text{}",
                    match most {
                        1 => String::new(),
                        2 => ", or a list of two while one replaces the other".to_owned(),
                        _ => ", or a list of texts".to_owned(),
                    }
                ),
            );
            Vec::new()
        })
    }

    fn secrets(&mut self, key: &str, most: usize) -> Vec<SecretString> {
        let mut secrets = Vec::new();
        for file in self.texts(key, most) {
            let path = self.folder.join(file.as_str());
            match bounded_read::read_to_string(&path).map(|text| text.trim().to_owned()) {
                Ok(secret) if secret.is_empty() => {
                    self.wrong(key, "the file it names is empty: write the secret into it");
                }
                Ok(secret) => secrets.push(SecretString::from(secret)),
                Err(error) => self.wrong(
                    key,
                    &format!("the file it names cannot be read ({error}): name one that this user may read; its path counts from the clients' file"),
                ),
            }
            self.secret_files.push(path);
        }
        secrets
    }

    fn tokens(&mut self) -> Vec<[u8; 32]> {
        let mut tokens = Vec::new();
        for text in self.texts("bearer_sha256", 2) {
            match unhex(&text) {
                Some(token) => tokens.push(token),
                None => self.wrong(
                    "bearer_sha256",
                    "write the token's SHA-256 as 64 hexadecimal digits: printf %s TOKEN | sha256sum",
                ),
            }
        }
        tokens
    }

    fn permissions(&mut self) -> BTreeSet<Permission> {
        let mut granted = BTreeSet::new();
        let known = |word: &str| Permission::ALL.into_iter().find(|p| p.as_str() == word);
        let words = match self.table.get("permissions") {
            Some(Value::Array(words)) => words.as_slice(),
            Some(_) | None => &[],
        };
        let found: Vec<_> = words
            .iter()
            .map(|word| word.as_str().and_then(known))
            .collect();
        if found.is_empty() || found.contains(&None) {
            self.wrong(
                "permissions",
                "write a list of some of get, list, resolve, refresh, write",
            );
        }
        granted.extend(found.into_iter().flatten());
        granted
    }

    fn scope(&mut self, key: &str) -> Allowed {
        let ids: Option<BTreeSet<CompactString>> = match self.table.get(key) {
            None => Some(BTreeSet::new()),
            Some(Value::Array(list)) => list
                .iter()
                .map(|id| {
                    id.as_str()
                        .filter(|id| !id.is_empty())
                        .map(CompactString::from)
                })
                .collect(),
            Some(_) => None,
        };
        match ids {
            Some(ids) if ids.contains("*") && ids.len() == 1 => Allowed::All,
            Some(ids) if !ids.contains("*") => Allowed::Only(ids),
            Some(_) | None => {
                self.wrong(key, "write a list of ids in quotes, or [\"*\"] alone");
                Allowed::Only(BTreeSet::new())
            }
        }
    }

    fn rate(&mut self, key: &str) -> Option<NonZeroU32> {
        let rate = match self.table.get(key)? {
            Value::Integer(rate) => u32::try_from(*rate).ok().and_then(NonZeroU32::new),
            _ => None,
        };
        if rate.is_none() {
            self.wrong(key, "write a whole number from 1 up, or leave it out");
        }
        rate
    }
}
