//! `ttl`: computes and explains how long an image with given times stays fresh.

use clap::Args;
use jiff::Timestamp;
use serde_json::json;

use super::{ConfigArgs, Exit, print_json, print_out};
use crate::api::parse_timestamp;
use crate::cache::explain::Explanation;
use crate::cache::freshness::{Directives, Evidence};
use crate::environment::Environment;
use crate::units::HumanDuration;
use crate::upstream::UpstreamFreshness;

/// Compute how long an image with these times stays fresh, and explain it.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  pai-image-gateway ttl --modified 2021-01-21T17:12:35.232Z --date 2021-01-22T00:00:00Z
  pai-image-gateway ttl --modified 2021-01-21T17:12:35.232Z --verbose --json")]
pub(super) struct Ttl {
    /// GmtModifiedTime of the image, such as 2021-01-21T17:12:35.232Z.
    #[arg(long, value_name = "TIME", value_parser = time)]
    modified: Option<Timestamp>,
    /// GmtCreateTime of the image.
    #[arg(long, value_name = "TIME", value_parser = time)]
    created: Option<Timestamp>,
    /// Date of the origin's response [default: now].
    #[arg(long, value_name = "TIME", value_parser = time)]
    date: Option<Timestamp>,
    /// Compute it for the response with labels (Verbose=true), which is kept for less long.
    #[arg(long)]
    verbose: bool,
    /// Cache-Control of the origin's response.
    #[arg(long, value_name = "DIRECTIVES", default_value = "")]
    cache_control: String,
    /// Random draw for the jitter, from 0 up to but not 1; 0 gives the longest ttl.
    #[arg(long, value_name = "SHARE", default_value_t = 0.0, value_parser = share)]
    draw: f64,
    /// Print one line of JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    config: ConfigArgs,
}

/// Parses a time as the API writes it.
fn time(text: &str) -> Result<Timestamp, &'static str> {
    parse_timestamp(text).ok_or(
        "write a time as the API does, such as 2026-11-23T12:00:00Z; for an image without a readable time leave it out",
    )
}

fn share(text: &str) -> Result<f64, &'static str> {
    let share = text.parse().ok();
    share
        .filter(|share| (0.0..1.0).contains(share))
        .ok_or("write a share from 0 up to but not 1, such as 0.5")
}

impl Ttl {
    pub(super) fn run(self, environment: &Environment) -> anyhow::Result<Exit> {
        let policy = self.config.load(environment)?.settings.freshness;
        let evidence = Evidence {
            modified: self.modified,
            created: self.created,
            date: self.date.unwrap_or_else(Timestamp::now),
            verbose: self.verbose,
            directives: Directives::parse(&self.cache_control),
            draw: self.draw,
            upstream: UpstreamFreshness::default(),
        };
        let explanation = Explanation::new(&policy, &evidence);
        if self.json {
            return print_json(&as_json(&explanation));
        }
        Ok(print_out(&as_text(&explanation)))
    }
}

/// Builds the object that `--json` prints; its fields are named as in `/entries/{ImageId}`.
fn as_json(explanation: &Explanation) -> serde_json::Value {
    let decision = &explanation.decision;
    json!({
        "ttl_seconds": decision.ttl.as_secs(),
        "base_seconds": decision.base.as_secs(),
        "source": decision.source.as_str(),
        "ceiling_seconds": decision.ceiling.as_secs(),
        "quiet_seconds": decision.quiet.map(|quiet| quiet.as_secs()),
        "jitter": decision.jitter,
        "stale_while_revalidate_seconds": explanation.stale_while_revalidate.as_secs(),
        "stale_if_error_seconds": explanation.stale_if_error.as_secs(),
        "explanation": explanation.text,
    })
}

fn as_text(explanation: &Explanation) -> String {
    let decision = &explanation.decision;
    format!(
        "ttl                     {}\nbase                    {}\nsource                  {}\nceiling                 {}\n\
         stale while revalidate  {}\nstale if error          {}\n\n{}\n",
        HumanDuration(decision.ttl),
        HumanDuration(decision.base),
        decision.source.as_str(),
        HumanDuration(decision.ceiling),
        HumanDuration(explanation.stale_while_revalidate),
        HumanDuration(explanation.stale_if_error),
        explanation.text,
    )
}
