//! `client list`: prints the clients of the clients file, without secrets.

use clap::Args;
use serde_json::json;

use super::{FileArgs, text};
use crate::auth::{ClientSummary, ClientsFile};
use crate::cli::columns::columns;
use crate::cli::{Exit, print_json, print_out, printable};
use crate::environment::Environment;

/// Print the clients of the clients file, with their permissions and limits; no secret.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  pai-image-gateway client list
  pai-image-gateway client list --file clients.toml --json")]
pub(in crate::cli) struct List {
    /// Print one line of JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    file: FileArgs,
}

impl List {
    pub(super) fn run(self, environment: &Environment) -> anyhow::Result<Exit> {
        let file = ClientsFile::read(&self.file.existing(environment)?)?;
        let clients = file.summaries()?;
        if self.json {
            return print_json(&json!({
                "clients_file": text(file.path()),
                "clients": clients,
            }));
        }
        Ok(print_out(&table(&clients)))
    }
}

const HEADING: [&str; 6] = [
    "NAME",
    "SIGNS IN BY",
    "PERMISSIONS",
    "WORKSPACES",
    "USERS",
    "REQUESTS/S, MISSES/S",
];

fn table(clients: &[ClientSummary]) -> String {
    let heading = HEADING.map(str::to_owned);
    let rows = std::iter::once(heading).chain(clients.iter().map(row));
    columns(&rows.collect::<Vec<_>>())
}

fn row(client: &ClientSummary) -> [String; 6] {
    let key = client
        .access_key_id
        .as_ref()
        .map(|id| match client.secrets {
            2 => format!("{id} (2 secrets)"),
            _ => id.clone(),
        });
    let signs_in = key.into_iter().chain(client.other_credentials.clone());
    let mut workspaces = client.workspaces.clone();
    if client.official {
        workspaces.push("official".to_owned());
    }
    let limit = |limit: Option<i64>, default: &str| {
        limit.map_or(default.to_owned(), |limit| limit.to_string())
    };
    let (requests, misses) = (client.requests_per_second, client.misses_per_second);
    let cells = [
        client.name.clone(),
        signs_in.collect::<Vec<_>>().join(", "),
        client.permissions.join(","),
        list(&workspaces),
        list(&client.users),
        format!(
            "{}, {}",
            limit(requests, "unlimited"),
            limit(misses, "default")
        ),
    ];
    cells.map(|cell| printable(&cell))
}

fn list(words: &[String]) -> String {
    if words.is_empty() {
        "-".to_owned()
    } else {
        words.join(",")
    }
}
