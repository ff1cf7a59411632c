//! `client rotate`: gives a client a new secret.

use clap::Args;
use secrecy::ExposeSecret as _;
use serde_json::json;

use super::{FileArgs, RELOADED, describe, fields, text};
use crate::auth::{ClientsFile, OldSecret, Rotation};
use crate::cli::{Exit, print_json, print_out};
use crate::environment::Environment;

/// Give a client a new secret under the same access key id, and print it, once.
///
/// The old secret stays valid beside the new one until --finish, so that the client can change without an
/// interruption. With --revoke the old secret is refused as soon as the gateway has read the file.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  pai-image-gateway client rotate trainer
  pai-image-gateway client rotate trainer --finish
  pai-image-gateway client rotate trainer --revoke --file clients.toml")]
pub(in crate::cli) struct Rotate {
    /// Name of the client in the file.
    name: String,
    /// End a rotation: remove the old secret, once the client uses the new one.
    #[arg(long, conflicts_with = "revoke")]
    finish: bool,
    /// Remove the old secret at once, as after a leak.
    #[arg(long)]
    revoke: bool,
    /// Print one line of JSON, the new secret included.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    file: FileArgs,
}

impl Rotate {
    pub(super) fn run(self, environment: &Environment) -> anyhow::Result<Exit> {
        let mut file = self.file.open(environment)?;
        if self.finish {
            return self.finish(&mut file);
        }
        let old = if self.revoke {
            OldSecret::Revoked
        } else {
            OldSecret::Kept
        };
        let rotation = file.rotate(&self.name, old)?;
        if self.json {
            return print_json(&json!({
                "name": self.name,
                "access_key_id": rotation.issued.access_key_id,
                "access_key_secret": rotation.issued.secret.expose_secret(),
                "secret_file": text(&rotation.issued.secret_file),
                "old_secret_file": rotation.kept.as_deref().map(text),
                "clients_file": text(file.path()),
            }));
        }
        Ok(print_out(&self.text(&rotation)))
    }

    fn finish(&self, file: &mut ClientsFile) -> anyhow::Result<Exit> {
        let dropped = file.finish_rotation(&self.name)?;
        if self.json {
            return print_json(&fields(&self.name, file, &dropped));
        }
        Ok(print_out(&format!(
            "The old secret of {} is removed: requests signed with it are refused.\n{}{RELOADED}",
            self.name,
            describe(&dropped)
        )))
    }

    fn text(&self, rotation: &Rotation) -> String {
        let (issued, name) = (&rotation.issued, &self.name);
        let fate = match &rotation.kept {
            Some(file) => format!(
                "The old secret, in {}, stays valid beside it. When the client uses the new one:\n  \
                 pai-image-gateway client rotate {name} --finish\n",
                file.display()
            ),
            None => "The old secret is removed: requests signed with it are refused.\n".to_owned(),
        };
        format!(
            "AccessKeyId      {}\nAccessKeySecret  {}\n\nThe new secret of {name} is in {}; it is not shown again.\n\
             {fate}{}{RELOADED}",
            issued.access_key_id,
            issued.secret.expose_secret(),
            issued.secret_file.display(),
            describe(&rotation.dropped),
        )
    }
}
