//! Fields of one `[[client]]` table. Each reader reports a wrong value and continues with a default, so that one pass
//! over the file finds every problem.

use std::collections::BTreeSet;
use std::num::NonZeroU32;
use std::path::{Path, PathBuf};

use compact_str::CompactString;
use secrecy::SecretString;
use toml::{Table, Value};

use crate::auth::{Allowed, Permission};
use crate::bounded_read;
use crate::signing::unhex;

const KEYS: [&str; 13] = [
    "name",
    "access_key_id",
    "access_key_secret_file",
    "security_token_file",
    "bearer_sha256",
    "mtls_name",
    "service_account",
    "permissions",
    "workspaces",
    "users",
    "official",
    "requests_per_second",
    "misses_per_second",
];

/// Names that metrics use for requests without a client.
const RESERVED: [&str; 2] = ["anonymous", "unauthenticated"];

/// Rule for the name of a client, as a remedy.
pub(super) const NAMES: &str = "write up to 64 of A-Z a-z 0-9 _ . -, beginning with a letter or digit; anonymous and unauthenticated are taken";

/// Returns whether a text is a valid name of a client: see [`NAMES`].
pub(super) fn is_name(name: &str) -> bool {
    let mut characters = name.chars();
    characters
        .next()
        .is_some_and(|first| first.is_ascii_alphanumeric())
        && characters.all(|c| c.is_ascii_alphanumeric() || "_.-".contains(c))
        && name.len() <= 64
        && !RESERVED.contains(&name)
}

/// Returns whether a text is a name of Kubernetes: lower-case letters, digits and `within`, which neither begins nor
/// ends it (RFC 1123).
fn is_dns_name(name: &str, longest: usize, within: &str) -> bool {
    let is_plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    name.len() <= longest
        && name.starts_with(is_plain)
        && name.ends_with(is_plain)
        && name.chars().all(|c| is_plain(c) || within.contains(c))
}

/// One `[[client]]` table, and the lists that its readers append to.
pub(super) struct TableReader<'a> {
    pub(super) table: &'a Table,
    /// Name of the table in problems: the client's name, or its number.
    pub(super) title: String,
    pub(super) folder: &'a Path,
    pub(super) problems: &'a mut Vec<String>,
    pub(super) secret_files: &'a mut Vec<PathBuf>,
}

impl TableReader<'_> {
    pub(super) fn wrong(&mut self, key: &str, remedy: &str) {
        let title = &self.title;
        self.problems.push(format!("{title}: {key}: {remedy}"));
    }

    pub(super) fn unknown_keys(&mut self) {
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

    pub(super) fn name(&mut self) -> CompactString {
        let name = self.table.get("name").and_then(Value::as_str).unwrap_or("");
        if !is_name(name) {
            self.wrong("name", NAMES);
        }
        name.into()
    }

    pub(super) fn access_key_id(&mut self) -> Option<CompactString> {
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

    /// Reads a text, or a list of at most `most` texts; empty if the key is missing or wrong.
    pub(super) fn texts(&mut self, key: &str, most: usize) -> Vec<CompactString> {
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

    pub(super) fn secrets(&mut self, key: &str, most: usize) -> Vec<SecretString> {
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

    pub(super) fn tokens(&mut self) -> Vec<[u8; 32]> {
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

    /// Reads service accounts, written `NAMESPACE/NAME`, and returns them as `NAMESPACE:NAME`.
    pub(super) fn service_accounts(&mut self) -> Vec<CompactString> {
        let mut accounts = Vec::new();
        for text in self.texts("service_account", usize::MAX) {
            match text.split_once('/').filter(|(namespace, name)| {
                is_dns_name(namespace, 63, "-") && is_dns_name(name, 253, "-.")
            }) {
                Some((namespace, name)) => {
                    accounts.push(compact_str::format_compact!("{namespace}:{name}"));
                }
                None => self.wrong(
                    "service_account",
                    "write namespace/name, such as \"training/scheduler\"",
                ),
            }
        }
        accounts
    }

    pub(super) fn permissions(&mut self) -> BTreeSet<Permission> {
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

    pub(super) fn allowed(&mut self, key: &str) -> Allowed {
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

    pub(super) fn rate(&mut self, key: &str) -> Option<NonZeroU32> {
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
