//! `config`: prints the effective settings; and the arguments by which every command finds them.

use std::path::PathBuf;

use clap::Args;

use super::{Exit, print_json, print_out};
use crate::config::{Loaded, SettingsSources};
use crate::environment::Environment;

/// Arguments that name settings. They override the environment's, which override the defaults.
#[derive(Debug, Clone, Default, Args)]
pub(super) struct ConfigArgs {
    /// Settings file, in TOML. Without it, only the environment and --set count.
    #[arg(long, value_name = "FILE")]
    pub(super) config: Option<PathBuf>,
    /// One setting, which overrides file and environment; may be repeated.
    #[arg(long = "set", value_name = "SECTION.KEY=VALUE")]
    pub(super) set: Vec<String>,
}

/// Print the effective settings as TOML, with the origin of each that is not a default.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  pai-image-gateway config --config gateway.toml --set freshness.max=30m
  pai-image-gateway config --json")]
pub(super) struct EffectiveSettings {
    /// Print one line of JSON: a section for each table of the settings file, without origins.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    config: ConfigArgs,
}

impl ConfigArgs {
    /// Reads and checks the settings.
    ///
    /// # Errors
    /// [`Problems`](crate::config::Problems) with every problem.
    pub(super) fn load(&self, environment: &Environment) -> anyhow::Result<Loaded> {
        let sources = SettingsSources {
            file: self.config.clone(),
            variables: environment.clone(),
            flags: self.set.clone(),
        };
        Ok(sources.load()?)
    }
}

impl EffectiveSettings {
    pub(super) fn run(self, environment: &Environment) -> anyhow::Result<Exit> {
        let loaded = self.config.load(environment)?;
        if self.json {
            return print_json(&loaded.settings);
        }
        Ok(print_out(&loaded.to_toml()))
    }
}
