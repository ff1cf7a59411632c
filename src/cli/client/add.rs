//! `client add`: issues a key and adds its client to the clients file.

use clap::Args;
use clap::builder::PossibleValuesParser;
use clap::builder::TypedValueParser as _;
use secrecy::ExposeSecret as _;
use serde_json::json;

use super::{FileArgs, RELOADED, text};
use crate::auth::{ClientsFile, NewClient, Permission};
use crate::cli::{Exit, print_json, print_out};
use crate::environment::Environment;

/// Issue a key to a client, add the client to the clients file and print the secret, once.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  pai-image-gateway client add trainer --workspaces 123456 --permissions get,resolve
  pai-image-gateway client add ops --workspaces '*' --users '*' --official --permissions get,list,refresh --file clients.toml")]
pub(in crate::cli) struct Add {
    /// Name of the client in the file, in metrics and in the audit.
    name: String,
    /// Permissions of the client, separated by commas.
    #[arg(long, value_name = "WORDS", value_delimiter = ',', default_value = "get", value_parser = permissions())]
    permissions: Vec<Permission>,
    /// Workspaces whose images it may see, separated by commas; * for all.
    #[arg(long, value_name = "IDS", value_delimiter = ',')]
    workspaces: Vec<String>,
    /// Users whose PRIVATE images it may see within those workspaces, separated by commas; * for all.
    #[arg(long, value_name = "IDS", value_delimiter = ',')]
    users: Vec<String>,
    /// Let it see PUBLIC images that belong to no workspace.
    #[arg(long)]
    official: bool,
    /// Most requests a second [default: no limit].
    #[arg(long, value_name = "NUMBER")]
    requests_per_second: Option<u32>,
    /// Most images a second that must be fetched from the origin [default: 47].
    #[arg(long, value_name = "NUMBER")]
    misses_per_second: Option<u32>,
    /// Print one line of JSON, the secret included.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    file: FileArgs,
}

fn permissions() -> impl clap::builder::TypedValueParser<Value = Permission> {
    let words = Permission::ALL.map(Permission::as_str);
    PossibleValuesParser::new(words).try_map(|word| {
        let known = Permission::ALL.into_iter().find(|p| p.as_str() == word);
        known.ok_or("unknown")
    })
}

impl Add {
    pub(super) fn run(self, environment: &Environment) -> anyhow::Result<Exit> {
        let mut file = ClientsFile::open(&self.file.path(environment)?)?;
        let client = NewClient {
            name: self.name,
            permissions: self.permissions,
            workspaces: self.workspaces,
            users: self.users,
            official: self.official,
            requests_per_second: self.requests_per_second,
            misses_per_second: self.misses_per_second,
        };
        let issued = client.issue(&mut file)?;
        let secret = issued.secret.expose_secret();
        if self.json {
            return print_json(&json!({
                "name": client.name,
                "access_key_id": issued.access_key_id,
                "access_key_secret": secret,
                "secret_file": text(&issued.secret_file),
                "clients_file": text(file.path()),
            }));
        }
        Ok(print_out(&format!(
            "AccessKeyId      {}\nAccessKeySecret  {secret}\n\n\
             {} is in {}, its secret in {}; it is not shown again.\n{RELOADED}",
            issued.access_key_id,
            client.name,
            file.path().display(),
            issued.secret_file.display(),
        )))
    }
}
