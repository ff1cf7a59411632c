//! `rehearse`: plays the origin failures of docs/outage.md to a copy of the operator's settings.
//!
//! Each failure has a gateway and an emulated origin of its own, in this process and on free ports of loopback.
//! `copy` replaces each setting that leads out of it, so that the real origin, the shared cache, the snapshot, the
//! clients, the audit and the traces are neither read nor written.

mod clients;
mod copy;
mod play;
mod promise;
mod report;

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use clap::Args;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use super::exit::ArgumentError;
use super::{ConfigArgs, Exit, block_on, print_json, print_note, print_out};
use crate::app::raise_file_limit;
use crate::config::Settings;
use crate::environment::Environment;
use play::{Played, Scene};
use report::Report;

/// Play the origin failures of docs/outage.md to a copy of these settings, and print what clients and operators see.
///
/// For each failure a gateway with these settings starts in front of an emulated origin, both in this process and on
/// free ports of loopback. Nothing real is touched: the origin, the credential, listeners, TLS, authentication, the
/// shared cache, the snapshot, the catalogue, the audit and traces are replaced or off, and no file is written. Ttls
/// are shortened, so that it takes less than a minute. Exit code 1 if an outcome is worse than documented.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  pai-image-gateway rehearse --config gateway.toml
  pai-image-gateway rehearse --config gateway.toml --only 503 --only silent
  pai-image-gateway rehearse --set freshness.stale_if_error=1h --json")]
pub(super) struct Rehearse {
    /// Play this failure only, by its name in docs/outage.md; may be repeated.
    #[arg(long, value_name = "NAME")]
    only: Vec<String>,
    /// Print one line of JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    config: ConfigArgs,
}

/// Failures that are played at once: more would be late on a small machine and look like time-outs.
const AT_ONCE: usize = 8;
/// Longest time of one failure. Three rounds of them stay below a minute.
const LONGEST: Duration = Duration::from_secs(18);

impl Rehearse {
    pub(super) fn run(self, environment: &Environment) -> anyhow::Result<Exit> {
        let settings = self.config.load(environment)?.settings;
        let scenes = self.scenes(&settings)?;
        if !self.json {
            print_note(copy::REPLACED);
        }
        raise_file_limit();
        let started = Instant::now();
        let played = block_on(play_all(&settings, scenes))??;
        let report = Report::new(&settings, played, started.elapsed());
        if self.json {
            print_json(&report.as_json())?;
        } else {
            print_out(&report.table());
        }
        Ok(if report.is_as_documented() {
            Exit::Success
        } else {
            Exit::Failure
        })
    }

    /// Returns the failures to play.
    ///
    /// # Errors
    /// A name that no failure has.
    fn scenes(&self, settings: &Settings) -> anyhow::Result<Vec<Scene>> {
        let mut scenes = Scene::all(settings);
        for name in &self.only {
            if !scenes.iter().any(|scene| scene.name == name) {
                let names: Vec<_> = scenes.iter().map(|scene| scene.name).collect();
                let names = names.join("; ");
                let mistake = format!("--only: there is no failure \"{name}\"; there are: {names}");
                return Err(ArgumentError(mistake).into());
            }
        }
        scenes.retain(|scene| {
            self.only.is_empty() || self.only.iter().any(|name| scene.name == name)
        });
        Ok(scenes)
    }
}

/// Plays every failure, and returns the results in their order.
async fn play_all(settings: &Settings, scenes: Vec<Scene>) -> anyhow::Result<Vec<Played>> {
    let turns = Arc::new(Semaphore::new(AT_ONCE));
    let settings = Arc::new(settings.clone());
    let mut plays = JoinSet::new();
    for (at, scene) in scenes.into_iter().enumerate() {
        let (turns, settings) = (Arc::clone(&turns), Arc::clone(&settings));
        plays.spawn(async move {
            let _turn = turns.acquire().await?;
            let name = scene.name;
            let played = tokio::time::timeout(LONGEST, play::play(scene, &settings)).await;
            let played = played.with_context(|| format!("{name}: not over within {LONGEST:?}"))?;
            anyhow::Ok((at, played.with_context(|| name.to_owned())?))
        });
    }
    let mut played = Vec::new();
    while let Some(done) = plays.join_next().await {
        played.push(done??);
    }
    played.sort_by_key(|(at, _)| *at);
    Ok(played.into_iter().map(|(_, played)| played).collect())
}
