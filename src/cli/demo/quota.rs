//! Second act of the demo: clients ask for more images at once than the account's quota lets through in four
//! seconds, first a gateway without a catalogue, then one with it.

use std::time::Duration;

use anyhow::{Context, bail, ensure};
use http::Method;
use serde_json::Value;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use super::load_client::{Answered, LoadClient};
use super::workload::bar;
use super::{any_port, environment, origin, settings};
use crate::admin::client::AdminRequest;
use crate::app::{App, Process};
use crate::emulator::{Counts, Emulator, Store};
use crate::server::Address;

/// Calls a second of each operation that the vendor grants an account, and the emulator lets through.
pub(super) const QUOTA: u32 = 50;
/// Images that are asked for at once, by one client each.
pub(super) const ASKED: usize = 200;
/// Images of the origin: three of four belong to the catalogue, so enough to ask for.
const IMAGES: usize = 300;
/// Settings of the gateway with a catalogue.
const CATALOGUE: [&str; 2] = ["catalogue.workspaces=15945", "catalogue.official=true"];
/// Longest time until the catalogue answers, and until every client has its image; beyond it something is broken.
const READY_TIMEOUT: Duration = Duration::from_secs(20);
const ANSWERS_TIMEOUT: Duration = Duration::from_secs(60);
/// Time between two looks at the catalogue's status.
const LOOK: Duration = Duration::from_millis(25);

/// Measurements of one gateway, from its start to the last answer.
pub(super) struct QuotaResult {
    pub(super) name: &'static str,
    /// Calls that the origin received, of any operation, the catalogue's lists included.
    pub(super) upstream_calls: u64,
    /// Those of them that it throttled.
    pub(super) throttled: u64,
    /// Clients whose first request was answered with the image.
    pub(super) at_first_try: usize,
    /// Longest time from a client's first request to its image.
    pub(super) longest_wait: Duration,
}

/// Measures a gateway without and one with a catalogue, each before an origin of its own.
pub(super) async fn compare() -> anyhow::Result<[QuotaResult; 2]> {
    Ok([
        measure("without a catalogue", &[]).await?,
        measure("with a catalogue", &CATALOGUE).await?,
    ])
}

async fn measure(name: &'static str, own_settings: &[&str]) -> anyhow::Result<QuotaResult> {
    let mut origin = origin(any_port());
    origin.images = IMAGES;
    origin.quota_per_second = Some(QUOTA);
    let emulator = Emulator::start(origin).await?;
    let settings = settings(emulator.address(), [any_port(); 2], own_settings)?;
    let app = App::start(&settings, &environment(), Process::default()).await?;
    if !own_settings.is_empty() {
        timeout(READY_TIMEOUT, until_answering(&app.admin))
            .await
            .context("the catalogue does not answer")??;
    }
    let answers = timeout(ANSWERS_TIMEOUT, ask_at_once(name, &app.data))
        .await
        .with_context(|| format!("{name}: not done within a minute"))??;
    let result = QuotaResult::new(name, &answers, &emulator.counts());
    app.stop().await;
    emulator.shutdown().await;
    Ok(result)
}

impl QuotaResult {
    fn new(name: &'static str, answers: &[Answered], origin: &Counts) -> Self {
        let throttled = origin
            .codes
            .iter()
            .filter(|(code, _)| code.starts_with("Throttling"))
            .map(|(_, count)| count);
        let waits = answers.iter().map(|answer| answer.waited);
        Self {
            name,
            upstream_calls: origin.requests,
            throttled: throttled.sum(),
            at_first_try: answers.iter().filter(|answer| answer.tries == 1).count(),
            longest_wait: waits.max().unwrap_or_default(),
        }
    }
}

/// Waits until every scope of the catalogue was walked and its items answer.
async fn until_answering(admin: &Address) -> anyhow::Result<()> {
    loop {
        let request = AdminRequest {
            method: Method::GET,
            path: "/status",
            body: None,
            token: None,
        };
        let (status, text) = request.send(admin).await?;
        ensure!(status.is_success(), "/status answered {status}: {text}");
        if is_answering(&serde_json::from_str(&text)?) {
            return Ok(());
        }
        sleep(LOOK).await;
    }
}

/// Returns whether the catalogue in this `/status` answers with `Verbose=false`, for all of its scopes.
fn is_answering(status: &Value) -> bool {
    let catalogue = &status["catalogue"];
    let is_walked = |scope: &Value| scope["last_walk"].is_string();
    catalogue["answering"][0] == true
        && catalogue["scopes"]
            .as_array()
            .is_some_and(|scopes| scopes.iter().all(is_walked))
}

/// Sends one request for each image at once, on a connection of its own.
async fn ask_at_once(name: &'static str, gateway: &Address) -> anyhow::Result<Vec<Answered>> {
    let Address::Tcp(gateway) = gateway else {
        bail!("the demo's gateway listens on TCP")
    };
    let client = LoadClient::new(*gateway, Duration::ZERO)?;
    let bar = bar(name, ASKED as u64);
    let mut clients = JoinSet::new();
    for image in catalogued().take(ASKED) {
        let client = client.clone();
        clients.spawn(async move {
            let target = format!("/api/v1/images/{image}");
            client.get_with_retries(&target).await
        });
    }
    let mut answers = Vec::with_capacity(ASKED);
    while let Some(answer) = clients.join_next().await {
        answers.push(answer??);
        bar.inc(1);
    }
    bar.finish();
    Ok(answers)
}

/// Returns the emulator's images that are official or of workspace 15945: all but every fourth.
fn catalogued() -> impl Iterator<Item = String> {
    (0..IMAGES).filter(|index| index % 4 != 2).map(Store::id)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_catalogue_is_waited_for_until_every_scope_was_walked_and_items_answer() {
        let status = |answering: bool, last_walk: Value| {
            json!({ "catalogue": {
                "answering": [answering, false],
                "scopes": [{ "last_walk": "2026-01-01T00:00:00Z" }, { "last_walk": last_walk }],
            }})
        };
        let walked = json!("2026-01-01T00:00:01Z");
        assert!(is_answering(&status(true, walked.clone())));
        assert!(!is_answering(&status(false, walked)));
        assert!(!is_answering(&status(true, Value::Null)));
        assert!(!is_answering(&json!({ "catalogue": null })));
    }
}
