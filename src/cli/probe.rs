//! `probe`: asks the live API what its documentation leaves open, and prints the settings that follow.
//!
//! `gather` makes the calls, each a read and one after the other; `facts`, `pages` and `conclusions` are pure: answers in,
//! facts out, settings out. `redact` replaces what must not leave the account, for `--record`.

mod calls;
mod conclusions;
mod error;
mod facts;
mod gather;
mod pages;
mod record;
mod redact;
mod report;

use std::path::PathBuf;
use std::sync::Arc;

use clap::Args;

use super::exit::ArgumentError;
use super::{ConfigArgs, Exit, block_on, print_json, print_note, print_out};
use crate::api::ImageId;
use crate::app;
use crate::cache::catalogue::Scope;
use crate::config::Settings;
use crate::credentials::CredentialProvider;
use crate::environment::Environment;
use crate::error_chain::error_chain;
use crate::observability::metrics::Metrics;
use crate::upstream::UpstreamKind;
use calls::Caller;
use conclusions::Conclusions;
use error::ProbeFailure;
use facts::Facts;
use record::Recording;

/// Ask the live API what its documentation leaves open; print the facts and the settings that follow.
///
/// It reads only: GetImage and ListImages, by the credential of the settings, one call after the other and within the
/// pace; at most 11 calls, and the gateway's usual retries of one that fails. Facts: the answer for an id that does not
/// exist, headers about quota and freshness, what Verbose adds, whether lists agree with GetImage, the largest page,
/// and the clock.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  pai-image-gateway probe --config gateway.toml
  pai-image-gateway probe --image image-liuxvj7p2qcnflha84 --json
  pai-image-gateway probe --workspace 15945 --record answers")]
pub(super) struct Probe {
    /// Image to ask for [default: the first one of the list].
    #[arg(long, value_name = "ID", value_parser = ImageId::parse)]
    image: Option<ImageId>,
    /// Workspace to list [default: the image's; without --image the official images].
    #[arg(long, value_name = "ID")]
    workspace: Option<String>,
    /// New or empty folder to write the answers to, without ids, names, URIs and secrets.
    #[arg(long, value_name = "DIR")]
    record: Option<PathBuf>,
    /// Print one line of JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    config: ConfigArgs,
}

impl Probe {
    pub(super) fn run(self, environment: &Environment) -> anyhow::Result<Exit> {
        let settings = self.config.load(environment)?.settings;
        if settings.upstream.kind == UpstreamKind::Gateway {
            let reason = "upstream.kind: probe asks the API itself: run it with the settings of the parent gateway";
            return Err(ArgumentError(reason.to_owned()).into());
        }
        let recording = self.record.as_deref().map(Recording::new).transpose()?;
        let facts = block_on(self.ask(&settings, environment, recording))??;
        let conclusions = Conclusions::new(&facts, &settings);
        if self.json {
            return print_json(&report::as_json(&facts, &conclusions));
        }
        Ok(print_out(&report::as_text(&facts, &conclusions)))
    }

    /// Gathers the facts. What was recorded is written, whether they are complete or not.
    async fn ask(
        &self,
        settings: &Settings,
        environment: &Environment,
        recording: Option<Recording>,
    ) -> anyhow::Result<Facts> {
        let metrics = Arc::new(Metrics::new());
        let credentials =
            CredentialProvider::new(&settings.credentials, environment, Arc::clone(&metrics));
        let credentials = Arc::new(credentials);
        let upstream = app::upstream(settings, environment, &credentials, &metrics)?;
        if let Err(errors) = credentials.load().await {
            let reasons = errors.iter().map(|error| error_chain(error));
            let reasons: Vec<_> = reasons.collect();
            return Err(ProbeFailure::NoCredential(reasons.join("; ")).into());
        }
        let mut caller = Caller::new(&upstream, recording);
        let facts = caller
            .gather(
                self.image.as_ref(),
                self.workspace.clone().map(Scope::Workspace),
            )
            .await;
        if let Some(recording) = caller.into_recording() {
            let identity = credentials.current();
            let secrets = identity.as_ref().map(|identity| identity.secrets());
            let secrets: Vec<&str> = secrets.into_iter().flatten().flatten().collect();
            let written = recording.write(&secrets)?;
            print_note(&written);
        }
        Ok(facts?)
    }
}
