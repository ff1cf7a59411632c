//! `client add`: a key for somebody who is to be let in.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::builder::PossibleValuesParser;
use clap::builder::TypedValueParser as _;
use clap::{Args, Subcommand};
use secrecy::ExposeSecret as _;

use super::{ConfigArgs, say};
use crate::auth::{NewClient, Permission};
use crate::credentials::Environment;

#[derive(Debug, Subcommand)]
pub(super) enum ClientCommand {
    /// Make a key for a client, add the client to the clients' file and print the secret, once.
    Add(Add),
}

#[derive(Debug, Args)]
pub(super) struct Add {
    /// What the client is called, in the file, in metrics and in the audit.
    name: String,
    /// The clients' file; auth.clients_file, if not given.
    #[arg(long, value_name = "FILE")]
    file: Option<PathBuf>,
    /// What it may do: some of get, list, resolve, refresh, write.
    #[arg(long, value_name = "WORDS", value_delimiter = ',', default_value = "get", value_parser = permissions())]
    permissions: Vec<Permission>,
    /// Workspaces whose images it sees; * for all.
    #[arg(long, value_name = "IDS", value_delimiter = ',')]
    workspaces: Vec<String>,
    /// Users whose PRIVATE images it sees within those workspaces; * for all.
    #[arg(long, value_name = "IDS", value_delimiter = ',')]
    users: Vec<String>,
    /// It sees PUBLIC images that belong to no workspace.
    #[arg(long)]
    official: bool,
    /// Its budget of requests; no limit, if not given.
    #[arg(long, value_name = "NUMBER")]
    requests_per_second: Option<u32>,
    /// Its budget of images that must be fetched; no limit, if not given.
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
        Ok(say(&summary(&client.name, &file, &issued)))
    }
}

fn summary(name: &str, file: &Path, issued: &crate::auth::IssuedKey) -> String {
    format!(
        "AccessKeyId      {}\nAccessKeySecret  {}\n\n\
         {name} is in {}, its secret in {}; it is not shown again.\n\
         A running gateway lets it in within reload.interval.\n",
        issued.access_key_id,
        issued.secret.expose_secret(),
        file.display(),
        issued.secret_file.display(),
    )
}
