//! `check`: tries everything that `serve` needs, and prints one line for each, with the remedy of each problem.

mod identity;

use std::sync::Arc;

use bytes::Bytes;
use clap::Args;
use serde::Serialize;
use serde_json::json;

use super::{ConfigArgs, Exit, block_on, print_json, print_out};
use crate::api::{Call, ImageId, ImageKey};
use crate::app;
use crate::config::{Loaded, Problems};
use crate::credentials::CredentialProvider;
use crate::environment::Environment;
use crate::error_chain::error_chain;
use crate::observability::metrics::Metrics;
use crate::observability::traces::Trace;
use crate::shared_cache::SharedCache;
use crate::upstream::priority::{Priority, SharedPriority};
use crate::upstream::{AnswerKind, Patience, Propagation, Upstream};

/// Check the settings, the shared cache and the credential; print every problem at once.
///
/// Exit code 0 if all is well, 2 otherwise.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  pai-image-gateway check --config gateway.toml
  pai-image-gateway check --config gateway.toml --call image-liuxvj7p2qcnflha84 --json")]
pub(super) struct Check {
    #[command(flatten)]
    config: ConfigArgs,
    /// Also send one signed GetImage for this image to the origin.
    #[arg(long, value_name = "IMAGE_ID")]
    call: Option<String>,
    /// Print one line of JSON.
    #[arg(long)]
    json: bool,
}

impl Check {
    pub(super) fn run(self, environment: &Environment) -> anyhow::Result<Exit> {
        let mut report = CheckReport::default();
        match self.config.load(environment) {
            Err(error) => match error.downcast::<Problems>() {
                Ok(Problems(problems)) => problems
                    .iter()
                    .for_each(|problem| report.bad(&problem.to_string())),
                Err(error) => report.bad(&format!("{error:#}")),
            },
            Ok(loaded) => {
                report.good("the settings are sound");
                block_on(probe(
                    &loaded,
                    environment,
                    self.call.as_deref(),
                    &mut report,
                ))??;
            }
        }
        if self.json {
            let ok = report.is_good();
            print_json(&json!({ "ok": ok, "checks": report.0 }))?;
        } else {
            print_out(&report.text());
        }
        Ok(if report.is_good() {
            Exit::Success
        } else {
            Exit::Usage
        })
    }
}

/// Results in the order in which they were found.
#[derive(Debug, Default)]
struct CheckReport(Vec<CheckResult>);

/// Result of one check: a fact, or a problem with its remedy.
#[derive(Debug, Serialize)]
struct CheckResult {
    ok: bool,
    text: String,
}

impl CheckReport {
    fn good(&mut self, text: &str) {
        self.add(true, text);
    }

    fn bad(&mut self, text: &str) {
        self.add(false, text);
    }

    fn add(&mut self, ok: bool, text: &str) {
        let text = text.to_owned();
        self.0.push(CheckResult { ok, text });
    }

    fn is_good(&self) -> bool {
        self.0.iter().all(|check| check.ok)
    }

    fn text(&self) -> String {
        let lines = self.0.iter().map(|CheckResult { ok, text }| {
            let verdict = if *ok { "ok  " } else { "FAIL" };
            format!("{verdict} {text}\n")
        });
        lines.collect()
    }
}

/// Tries the client towards the origin, the shared cache, the credential and, for an image, one signed call. A
/// problem does not keep the rest from being tried, where that is possible.
async fn probe(
    loaded: &Loaded,
    environment: &Environment,
    image: Option<&str>,
    report: &mut CheckReport,
) -> anyhow::Result<()> {
    let metrics = Arc::new(Metrics::new());
    let credentials = Arc::new(CredentialProvider::new(
        &loaded.settings.credentials,
        environment,
        Arc::clone(&metrics),
    ));
    let upstream = match app::upstream(&loaded.settings, environment, &credentials, &metrics) {
        Ok(upstream) => upstream,
        Err(error) => {
            report.bad(&error.to_string());
            return Ok(());
        }
    };
    let asked = upstream.kind().asked();
    report.good(&format!("{asked} is {}", upstream.origin().host()));
    let (shared, origin) = (&loaded.settings.shared_cache, upstream.origin().host());
    if let Some(shared) = SharedCache::from_config(shared, origin, &metrics) {
        match shared.check().await {
            Ok(took) => report.good(&format!(
                "the shared cache allows every command, in {took:.0?}"
            )),
            Err(error) => report.bad(&format!("shared_cache: the server {error}")),
        }
    }
    identity::clients(loaded, &metrics, report).await;
    let loading = credentials.load().await;
    identity::gateway(loaded, environment, &credentials, report);
    match loading {
        Ok(()) => {
            let status = credentials.status();
            let (source, id) = (
                status.source.unwrap_or("?"),
                status.access_key_id.as_deref().unwrap_or("without an id"),
            );
            let until = status
                .expires_at
                .map(|at| format!(", until {at}"))
                .unwrap_or_default();
            report.good(&format!("credential {id} from {source}{until}"));
            if let Some(image) = image {
                call(&upstream, image, report).await?;
            }
        }
        Err(errors) => {
            for error in errors {
                report.bad(&format!("credential: {}", error_chain(&error)));
            }
        }
    }
    Ok(())
}

async fn call(upstream: &Upstream, image: &str, report: &mut CheckReport) -> anyhow::Result<()> {
    let key = ImageKey {
        image: ImageId::parse(image)?,
        verbose: false,
    };
    let asked = upstream.kind().asked();
    match upstream
        .send(
            &Call::get_image(key),
            Bytes::new(),
            (&SharedPriority::new(Priority::Miss), Patience::Fetch(None)),
            &Propagation::default(),
            &Trace::none(),
        )
        .await
    {
        Ok(answer) => match answer.kind {
            AnswerKind::Success(_) => report.good(&format!(
                "{asked} answered for {image} in {:.0?}",
                answer.took
            )),
            AnswerKind::NotFound(_) => report.good(&format!(
                "{asked} accepted the signature; it has no image {image}"
            )),
            AnswerKind::Forbidden(error) => report.bad(&format!(
                "the credential may not read {image}: {}",
                error.code
            )),
        },
        Err(error) => report.bad(&error_chain(&error)),
    }
    Ok(())
}
