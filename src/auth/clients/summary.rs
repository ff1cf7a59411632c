//! Summary of each client in the clients' file, for `client list`: without secrets, and readable where a secret's file
//! is not.

use serde::Serialize;
use toml_edit::{Item, Table};

use super::file::{ClientsFile, EditError, tables};

/// A client as its table describes it. Numbers and lists are as written, without defaults.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ClientSummary {
    /// Name in metrics and in the audit.
    pub name: String,
    /// Access key id, if it signs.
    pub access_key_id: Option<String>,
    /// Number of secrets of that key that are valid: two during a rotation.
    pub secrets: usize,
    /// Other ways to authenticate: keys of the table, such as `bearer_sha256` and `mtls_name`.
    pub other_credentials: Vec<String>,
    /// Permissions.
    pub permissions: Vec<String>,
    /// Workspaces whose images it may see.
    pub workspaces: Vec<String>,
    /// Users whose PRIVATE images it may see.
    pub users: Vec<String>,
    /// Visibility of PUBLIC images without a workspace.
    pub official: bool,
    /// Limit of requests; `None` for no limit.
    pub requests_per_second: Option<i64>,
    /// Limit of misses; `None` for the default.
    pub misses_per_second: Option<i64>,
}

/// Keys of a table that are credentials beside the access key.
const OTHER_CREDENTIALS: [&str; 3] = ["bearer_sha256", "mtls_name", "service_account"];

impl ClientsFile {
    /// Summarizes the clients in the order of the file.
    ///
    /// # Errors
    /// A file that is no TOML, or whose clients are no `[[client]]` tables.
    pub fn summaries(&self) -> Result<Vec<ClientSummary>, EditError> {
        let mut document = self.document()?;
        if document.get("client").is_none() {
            return Ok(Vec::new());
        }
        let tables = tables(&mut document, &self.path)?;
        Ok(tables.iter().map(ClientSummary::of).collect())
    }
}

impl ClientSummary {
    fn of(table: &Table) -> Self {
        let text = |key: &str| table.get(key).and_then(Item::as_str).map(str::to_owned);
        let number = |key: &str| table.get(key).and_then(Item::as_integer);
        let others = OTHER_CREDENTIALS.into_iter();
        Self {
            name: text("name").unwrap_or_default(),
            access_key_id: text("access_key_id"),
            secrets: texts(table, "access_key_secret_file").len(),
            other_credentials: others
                .filter(|key| table.contains_key(key))
                .map(str::to_owned)
                .collect(),
            permissions: texts(table, "permissions"),
            workspaces: texts(table, "workspaces"),
            users: texts(table, "users"),
            official: table.get("official").and_then(Item::as_bool) == Some(true),
            requests_per_second: number("requests_per_second"),
            misses_per_second: number("misses_per_second"),
        }
    }
}

/// Returns a text, or the texts of a list.
pub(super) fn texts(table: &Table, key: &str) -> Vec<String> {
    let Some(item) = table.get(key) else {
        return Vec::new();
    };
    let list = item.as_array().into_iter().flatten();
    let texts = list.filter_map(|text| text.as_str()).chain(item.as_str());
    texts.map(str::to_owned).collect()
}
