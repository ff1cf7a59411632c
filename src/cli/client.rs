//! `client add`: issues a key and adds its client to the clients file.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::builder::PossibleValuesParser;
use clap::builder::TypedValueParser as _;
use clap::{Args, Subcommand};
use secrecy::ExposeSecret as _;

use super::{ConfigArgs, print_out};
use crate::auth::{NewClient, Permission};
use crate::environment::Environment;

#[derive(Debug, Subcommand)]
pub(super) enum ClientCommand {
    /// Issue a key to a client, add the client to the clients file and print the secret, once.
    #[command(after_help = "\
Examples:
  pai-image-gateway client add trainer --workspaces 123456 --permissions get,resolve
  pai-image-gateway client add ops --workspaces '*' --users '*' --official --permissions get,list,refresh --file clients.toml")]
    Add(Add),
}

#[derive(Debug, Args)]
pub(super) struct Add {
    /// Name of the client in the file, in metrics and in the audit.
    name: String,
    /// Clients file to add it to [default: auth.clients_file].
    #[arg(long, value_name = "FILE")]
    file: Option<PathBuf>,
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
    #[command(flatten)]
    config: ConfigArgs,
}

fn permissions() -> impl clap::builder::TypedValueParser<Value = Permission> {
    let words = Permission::ALL.map(Permission::as_str);
    PossibleValuesParser::new(words).try_map(|word| {
        let known = Permission::ALL.into_iter().find(|p| p.as_str() == word);
        known.ok_or("unknown")
    })
}

impl ClientCommand {
    pub(super) fn run(self, environment: &Environment) -> anyhow::Result<ExitCode> {
        let Self::Add(add) = self;
        add.run(environment)
    }
}

impl Add {
    fn run(self, environment: &Environment) -> anyhow::Result<ExitCode> {
        let file = match self.file {
            Some(file) => file,
            None => PathBuf::from(self.config.load(environment)?.settings.auth.clients_file),
        };
        let client = NewClient {
            name: self.name,
            permissions: self.permissions,
            workspaces: self.workspaces,
            users: self.users,
            official: self.official,
            requests_per_second: self.requests_per_second,
            misses_per_second: self.misses_per_second,
        };
        let issued = client.issue(&file)?;
        Ok(print_out(&summary(&client.name, &file, &issued)))
    }
}

fn summary(name: &str, file: &Path, issued: &crate::auth::IssuedKey) -> String {
    format!(
        "AccessKeyId      {}\nAccessKeySecret  {}\n\n\
         {name} is in {}, its secret in {}; it is not shown again.\n\
         A running gateway accepts it within reload.interval.\n",
        issued.access_key_id,
        issued.secret.expose_secret(),
        file.display(),
        issued.secret_file.display(),
    )
}
