//! `status`: prints the figures of a running gateway, once or again and again.

mod text;

use std::io::IsTerminal as _;
use std::time::Duration;

use clap::Args;
use serde_json::Value;

use super::serve::StopSignal;
use super::{Exit, RunningGateway, block_on, print_error, print_json, print_out};
use crate::environment::Environment;
use crate::error_chain::error_chain;

/// Print the figures of a running gateway: requests, calls to the origin, cache, credential, recent errors.
///
/// They are those of the status page, from the admin listener's /status. With --watch, rates are added, and a gateway
/// that does not answer for a while is waited for; Ctrl-C ends it.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  pai-image-gateway status
  pai-image-gateway status --config gateway.toml --watch 5
  pai-image-gateway status --admin 127.0.0.1:9901 --json")]
pub(super) struct Status {
    /// Print again after this many seconds, until Ctrl-C [default: 2].
    #[arg(long, value_name = "SECONDS", num_args = 0..=1, default_missing_value = "2", value_parser = clap::value_parser!(u64).range(1..=3600))]
    watch: Option<u64>,
    /// Print the response of /status, one line of JSON each time.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    running: RunningGateway,
}

impl Status {
    pub(super) fn run(self, environment: &Environment) -> anyhow::Result<Exit> {
        if let Some(seconds) = self.watch {
            return block_on(self.watch(Duration::from_secs(seconds), environment))?;
        }
        let status = self.running.get("/status", environment)?;
        self.print(&status, None)
    }

    /// Prints a status each `pause`. Only the first one must succeed: a gateway may restart while it is watched.
    async fn watch(&self, pause: Duration, environment: &Environment) -> anyhow::Result<Exit> {
        let mut stop = StopSignal::listen()?;
        let endpoint = self.running.endpoint(environment)?;
        let mut before = endpoint.get("/status").await?;
        let mut printed = self.print(&before, None)?;
        while printed == Exit::Success {
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = stop.wait() => break,
            }
            match endpoint.get("/status").await {
                Ok(now) => {
                    printed = self.print(&now, Some(&before))?;
                    before = now;
                }
                Err(error) => print_error(&error_chain(&*error)),
            }
        }
        Ok(printed)
    }

    fn print(&self, status: &Value, before: Option<&Value>) -> anyhow::Result<Exit> {
        if self.json {
            return print_json(status);
        }
        let text = text::render(status, before);
        Ok(match self.watch {
            None => print_out(&text),
            // Redrawn in place on a terminal; else one after the other, with an empty line between them.
            Some(_) if std::io::stdout().is_terminal() => print_out(&format!("\x1b[H\x1b[J{text}")),
            Some(_) => print_out(&format!("{text}\n")),
        })
    }
}
