//! `completions`: prints a script by which a shell completes this program's arguments.

use clap::{Args, CommandFactory as _};
use clap_complete::Shell;

use super::{Cli, Exit, print_out};

/// Print the script by which a shell completes commands and arguments.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  pai-image-gateway completions bash > /etc/bash_completion.d/pai-image-gateway
  pai-image-gateway completions zsh > ~/.zfunc/_pai-image-gateway
  pai-image-gateway completions fish > ~/.config/fish/completions/pai-image-gateway.fish")]
pub(super) struct Completions {
    /// Shell to print the script for.
    #[arg(value_name = "SHELL")]
    shell: Shell,
}

impl Completions {
    pub(super) fn run(self) -> anyhow::Result<Exit> {
        let mut command = Cli::command();
        let (name, mut script) = (command.get_name().to_owned(), Vec::new());
        clap_complete::generate(self.shell, &mut command, name, &mut script);
        Ok(print_out(&String::from_utf8(script)?))
    }
}
