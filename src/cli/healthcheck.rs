//! `healthcheck`: asks a running gateway whether it is ready.

use clap::Args;
use http::Method;
use serde_json::json;

use super::{Exit, RunningGateway, print_json, print_out};
use crate::environment::Environment;

/// Ask a running gateway whether it is ready. Exit code 0 if it is, 1 otherwise.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  pai-image-gateway healthcheck --config gateway.toml
  pai-image-gateway healthcheck --admin 127.0.0.1:9901 --json")]
pub(super) struct Healthcheck {
    /// Print one line of JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    running: RunningGateway,
}

impl Healthcheck {
    pub(super) fn run(self, environment: &Environment) -> anyhow::Result<Exit> {
        let (status, text) = self
            .running
            .send(Method::GET, "/readyz", None, environment)?;
        let (ready, reason) = (status.is_success(), text.trim());
        if self.json {
            let reason = (!ready).then_some(reason);
            print_json(&json!({ "ready": ready, "reason": reason }))?;
            return Ok(if ready { Exit::Success } else { Exit::Failure });
        }
        anyhow::ensure!(ready, "not ready: {reason}");
        Ok(print_out("ready\n"))
    }
}
