//! `client remove`: takes a client out of the clients file.

use clap::Args;

use super::{FileArgs, RELOADED, describe, fields};
use crate::cli::{Exit, print_json, print_out};
use crate::environment::Environment;

/// Remove a client from the clients file, and delete the file of its secret.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  pai-image-gateway client remove trainer
  pai-image-gateway client remove trainer --file clients.toml --json")]
pub(in crate::cli) struct Remove {
    /// Name of the client in the file.
    name: String,
    /// Print one line of JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    file: FileArgs,
}

impl Remove {
    pub(super) fn run(self, environment: &Environment) -> anyhow::Result<Exit> {
        let mut file = self.file.open(environment)?;
        let dropped = file.remove(&self.name)?;
        if self.json {
            return print_json(&fields(&self.name, &file, &dropped));
        }
        Ok(print_out(&format!(
            "{} is removed from {}: its requests are refused.\n{}{RELOADED}",
            self.name,
            file.path().display(),
            describe(&dropped)
        )))
    }
}
