//! `ttl`: computes and explains how long an image with given times stays fresh.

use std::process::ExitCode;

use clap::Args;
use jiff::Timestamp;

use super::{ConfigArgs, print_out};
use crate::api::parse_timestamp;
use crate::cache::explain::Explanation;
use crate::cache::freshness::{Directives, Evidence};
use crate::environment::Environment;
use crate::units::HumanDuration;
use crate::upstream::UpstreamFreshness;

#[derive(Debug, Args)]
pub(super) struct Ttl {
    /// GmtModifiedTime of the image, such as 2021-01-21T17:12:35.232Z.
    #[arg(long, value_name = "TIME")]
    modified: Option<String>,
    /// GmtCreateTime of the image.
    #[arg(long, value_name = "TIME")]
    created: Option<String>,
    /// Date of the origin's response [default: now].
    #[arg(long, value_name = "TIME")]
    date: Option<String>,
    /// Compute it for the response with labels (Verbose=true), which is kept for less long.
    #[arg(long)]
    verbose: bool,
    /// Cache-Control of the origin's response.
    #[arg(long, value_name = "DIRECTIVES", default_value = "")]
    cache_control: String,
    /// Random draw for the jitter, from 0 up to but not 1; 0 gives the longest ttl.
    #[arg(long, value_name = "SHARE", default_value_t = 0.0)]
    draw: f64,
    #[command(flatten)]
    config: ConfigArgs,
}

impl Ttl {
    pub(super) fn run(self, environment: &Environment) -> anyhow::Result<ExitCode> {
        anyhow::ensure!(
            (0.0..1.0).contains(&self.draw),
            "--draw: write a share from 0 up to but not 1"
        );
        let policy = self.config.load(environment)?.settings.freshness;
        let date = match &self.date {
            None => Timestamp::now(),
            Some(text) => parse_timestamp(text).ok_or_else(|| {
                anyhow::anyhow!("--date: write a time such as 2026-11-23T12:00:00Z")
            })?,
        };
        let time = |text: &Option<String>| text.as_deref().and_then(parse_timestamp);
        let evidence = Evidence {
            modified: time(&self.modified),
            created: time(&self.created),
            date,
            verbose: self.verbose,
            directives: Directives::parse(&self.cache_control),
            draw: self.draw,
            upstream: UpstreamFreshness::default(),
        };
        let Explanation {
            decision,
            stale_while_revalidate,
            stale_if_error,
            text,
        } = Explanation::new(&policy, &evidence);
        Ok(print_out(&format!(
            "ttl                     {}\nbase                    {}\nsource                  {}\nceiling                 {}\n\
             stale while revalidate  {}\nstale if error          {}\n\n{text}\n",
            HumanDuration(decision.ttl),
            HumanDuration(decision.base),
            decision.source.as_str(),
            HumanDuration(decision.ceiling),
            HumanDuration(stale_while_revalidate),
            HumanDuration(stale_if_error),
        )))
    }
}
