//! `docs`: prints the generated pages of the documentation; the CI compares each with the file in the repository.

mod commands;
#[cfg(feature = "emulator")]
mod emulator;
mod json_fields;
mod man;

use std::path::PathBuf;

use clap::Subcommand;

use super::{Exit, print_out};
use crate::config;
use crate::observability::metrics::Metrics;

/// Generated page of the documentation.
#[derive(Debug, Subcommand)]
pub(super) enum Docs {
    /// Print docs/metrics.md.
    Metrics,
    /// Print docs/configuration.md.
    Settings,
    /// Print the JSON schema of the settings.
    Schema,
    /// Print docs/commands.md.
    Commands,
    /// Print docs/emulator.md.
    #[cfg(feature = "emulator")]
    Emulator,
    /// Write a man page for the program and for each command into a folder, which is made if it is missing.
    #[command(after_help = "Examples:\n  pai-image-gateway docs man share/man/man1")]
    Man {
        /// Folder for the pages.
        folder: PathBuf,
    },
}

impl Docs {
    pub(super) fn run(self) -> anyhow::Result<Exit> {
        match self {
            Self::Man { folder } => man::write(&folder),
            page => Ok(print_out(&page.page())),
        }
    }

    /// Renders the page; empty for man pages, which are files.
    pub(super) fn page(&self) -> String {
        match self {
            Self::Metrics => Metrics::page(),
            Self::Settings => config::page(),
            Self::Schema => format!("{:#}\n", config::schema()),
            Self::Commands => commands::page(),
            #[cfg(feature = "emulator")]
            Self::Emulator => emulator::page(),
            Self::Man { .. } => String::new(),
        }
    }
}
