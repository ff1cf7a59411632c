//! Man pages: one for the program and one for each command, named as `man` looks them up.

use std::fs;
use std::path::Path;

use anyhow::Context as _;
use clap::CommandFactory as _;

use crate::cli::{Cli, Exit};

/// Writes every page into a folder.
///
/// # Errors
/// A folder or a page that cannot be written.
pub(super) fn write(folder: &Path) -> anyhow::Result<Exit> {
    let failed = || format!("cannot write man pages to {}", folder.display());
    fs::create_dir_all(folder).with_context(failed)?;
    clap_mangen::generate_to(Cli::command(), folder).with_context(failed)?;
    Ok(Exit::Success)
}
