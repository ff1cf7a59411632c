//! `purge`: removes responses from the cache of a running gateway.

use clap::Args;
use http::Method;
use serde_json::{Value, json};

use super::{Exit, RunningGateway, print_json, print_out};
use crate::environment::Environment;

/// Remove responses from the cache of a running gateway.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  pai-image-gateway purge --image image-liuxvj7p2qcnflha84
  pai-image-gateway purge --all --soft --admin 127.0.0.1:9901")]
pub(super) struct Purge {
    #[command(flatten)]
    scope: PurgeSelection,
    /// Mark the images stale instead of removing them: they still answer when the origin fails.
    #[arg(long)]
    soft: bool,
    /// Print one line of JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    running: RunningGateway,
}

#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
struct PurgeSelection {
    /// Image to purge, by its id.
    #[arg(long, value_name = "ID")]
    image: Option<String>,
    /// Workspace whose images are purged, by its id.
    #[arg(long, value_name = "ID")]
    workspace: Option<String>,
    /// Purge the whole cache.
    #[arg(long)]
    all: bool,
}

impl Purge {
    pub(super) fn run(self, environment: &Environment) -> anyhow::Result<Exit> {
        let PurgeSelection {
            image,
            workspace,
            all,
        } = self.scope;
        let mut body = match (image, workspace, all) {
            (Some(image), ..) => json!({ "image": image }),
            (_, Some(workspace), _) => json!({ "workspace": workspace }),
            _ => json!({ "all": true }),
        };
        body["soft"] = self.soft.into();
        let body = Some(body.to_string());
        let (status, text) = self
            .running
            .send(Method::POST, "/purge", body, environment)?;
        let answer: Value = serde_json::from_str(&text).unwrap_or_default();
        anyhow::ensure!(
            status.is_success(),
            "not purged: {}",
            answer["error"].as_str().unwrap_or(text.trim())
        );
        if self.json {
            return print_json(&answer);
        }
        Ok(print_out(&format!(
            "purged {} cached responses\n",
            answer["purged"]
        )))
    }
}
