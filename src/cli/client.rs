//! `client`: issues keys to clients, replaces and removes them, in the clients file.

mod add;
mod list;
mod remove;
mod rotate;

use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::{ConfigArgs, Exit};
use crate::auth::{ClientsFile, DroppedFiles};
use crate::environment::Environment;

/// Manage the clients that may use the gateway where auth.mode is "required".
#[derive(Debug, Subcommand)]
pub(super) enum ClientCommand {
    Add(add::Add),
    List(list::List),
    Rotate(rotate::Rotate),
    Remove(remove::Remove),
}

/// Examples in the help of `client` itself.
pub(super) const EXAMPLES: &str = "\
Examples:
  pai-image-gateway client add trainer --workspaces 123456 --permissions get,resolve
  pai-image-gateway client rotate trainer
  pai-image-gateway client list";

/// Argument that selects the clients file.
#[derive(Debug, Args)]
struct FileArgs {
    /// Clients file [default: auth.clients_file].
    #[arg(long, value_name = "FILE")]
    file: Option<PathBuf>,
    #[command(flatten)]
    config: ConfigArgs,
}

impl ClientCommand {
    pub(super) fn run(self, environment: &Environment) -> anyhow::Result<Exit> {
        match self {
            Self::Add(add) => add.run(environment),
            Self::List(list) => list.run(environment),
            Self::Rotate(rotate) => rotate.run(environment),
            Self::Remove(remove) => remove.run(environment),
        }
    }
}

impl FileArgs {
    fn path(&self, environment: &Environment) -> anyhow::Result<PathBuf> {
        Ok(match &self.file {
            Some(file) => file.clone(),
            None => PathBuf::from(self.config.load(environment)?.settings.auth.clients_file),
        })
    }

    /// Opens the clients file, which must exist.
    ///
    /// # Errors
    /// Settings that cannot be used, or a file that is missing, cannot be read, or is being changed.
    fn open(&self, environment: &Environment) -> anyhow::Result<ClientsFile> {
        Ok(ClientsFile::open(&self.existing(environment)?)?)
    }

    fn existing(&self, environment: &Environment) -> anyhow::Result<PathBuf> {
        let path = self.path(environment)?;
        anyhow::ensure!(
            path.exists(),
            "there is no {}: name the clients file by --file, or the settings that name it by --config",
            path.display()
        );
        Ok(path)
    }
}

/// Last line of each command that changes the file.
const RELOADED: &str = "A running gateway reads the file again within reload.interval.\n";

/// Returns the fields of `--json` for a client whose secret files were dropped.
fn fields(name: &str, file: &ClientsFile, dropped: &DroppedFiles) -> Value {
    json!({
        "name": name,
        "clients_file": text(file.path()),
        "deleted": dropped.deleted,
        "left": dropped.left,
    })
}

/// Says which files of secrets were deleted, and which are left to be deleted by hand.
fn describe(dropped: &DroppedFiles) -> String {
    let names = |files: &[PathBuf]| {
        let names = files.iter().map(|file| file.display().to_string());
        names.collect::<Vec<_>>().join(", ")
    };
    let mut text = String::new();
    for (files, fate) in [
        (&dropped.deleted, "deleted"),
        (&dropped.left, "not used any more; delete it yourself"),
    ] {
        if !files.is_empty() {
            text += &format!("{}: {fate}\n", names(files));
        }
    }
    text
}

/// Returns a path as text, for JSON.
fn text(path: &Path) -> String {
    path.display().to_string()
}
