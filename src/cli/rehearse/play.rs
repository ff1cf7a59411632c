//! One failure: an emulated origin and a gateway start, images are cached, the failure begins, and clients go on.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::{bail, ensure};
use tokio::time::{Instant, sleep};

use super::clients::{Answers, TestClients};
use super::copy::isolate;
use crate::app::{App, Process};
use crate::cli::demo::{any_port, environment, origin};
use crate::config::Settings;
use crate::emulator::{Emulator, Store, Trouble};
use crate::server::Address;

/// Images that are cached when the failure begins.
pub(super) const CACHED: usize = 4;
/// Time from the last answer of the origin to the failure: beyond the ttl and the stale window of the copy.
const UNTIL_STALE: Duration = Duration::from_millis(600);
/// Time in which clients send requests.
const PLAY: Duration = Duration::from_secs(4);
const PAUSE: Duration = Duration::from_millis(200);
/// Tries to cache the images. A loaded machine may make the first ones late.
const TRIES: u32 = 5;

/// Failure to play.
pub(super) struct Scene {
    pub(super) name: &'static str,
    /// Faults of the origin; `None` stops it, so that connections are refused.
    trouble: Option<Trouble>,
}

/// Result of a played failure.
#[derive(Debug)]
pub(super) struct Played {
    pub(super) name: &'static str,
    /// Answers for images that were cached when the failure began.
    pub(super) cached: Answers,
    /// Answers for images that nobody had requested before.
    pub(super) new: Answers,
    /// Rounds of requests, each of which requested every cached image once.
    pub(super) rounds: u64,
    /// Calls that reached the origin during the failure.
    pub(super) upstream_calls: u64,
    /// Conditions that the log would report.
    pub(super) conditions: BTreeSet<&'static str>,
}

/// Name of the failure that no script plays.
pub(super) const STOPPED: &str = "nothing listens";

impl Scene {
    /// Lists the failures of docs/outage.md, after an origin that has stopped.
    pub(super) fn all(settings: &Settings) -> Vec<Self> {
        let late = settings.upstream.attempt_timeout.0 + Duration::from_secs(1);
        let scripted = Trouble::all(late).into_iter().map(|trouble| Self {
            name: trouble.name,
            trouble: Some(trouble),
        });
        let stopped = Self {
            name: STOPPED,
            trouble: None,
        };
        std::iter::once(stopped).chain(scripted).collect()
    }
}

/// Plays one failure.
///
/// # Errors
/// A gateway that does not start with the copy, or that gets no image before the failure.
pub(super) async fn play(scene: Scene, own: &Settings) -> anyhow::Result<Played> {
    let emulator = Emulator::start(origin(any_port())).await?;
    let settings = isolate(own, emulator.address())?;
    let app = App::start(&settings, &environment(), Process::default()).await?;
    let Address::Tcp(gateway) = app.data else {
        bail!("the copy of the settings listens on TCP")
    };
    let clients = TestClients::new(gateway)?;
    let cached: Vec<String> = (0..CACHED).map(Store::id).collect();
    fill(&clients, &cached).await?;
    sleep(UNTIL_STALE).await;
    let mut played = Played {
        name: scene.name,
        cached: Answers::default(),
        new: Answers::default(),
        rounds: 0,
        upstream_calls: 0,
        conditions: BTreeSet::new(),
    };
    let before = emulator.counts().requests;
    let emulator = match scene.trouble {
        Some(trouble) => {
            trouble.begin(&emulator);
            Some(emulator)
        }
        None => {
            emulator.shutdown().await;
            None
        }
    };
    played.request(&clients, &cached).await;
    played.conditions = app.metrics.conditions.begun();
    if let Some(emulator) = &emulator {
        played.upstream_calls = emulator.counts().requests - before;
    }
    // A dropped emulator closes its connections, so that no call delays the gateway's end.
    drop(emulator);
    app.stop().await;
    Ok(played)
}

async fn fill(clients: &TestClients, images: &[String]) -> anyhow::Result<()> {
    let mut tries = 0;
    loop {
        let mut answers = Answers::default();
        clients.ask(images, &mut answers).await;
        if answers.failures() == 0 {
            return Ok(());
        }
        tries += 1;
        ensure!(
            tries < TRIES,
            "images cannot be fetched with these settings even from an origin that works: {:?}",
            answers.failed
        );
        sleep(PAUSE).await;
    }
}

impl Played {
    /// Requests the cached images and a new one, round after round.
    async fn request(&mut self, clients: &TestClients, cached: &[String]) {
        let (end, mut next) = (Instant::now() + PLAY, CACHED);
        while Instant::now() < end {
            let new = [Store::id(next)];
            tokio::join!(
                clients.ask(cached, &mut self.cached),
                clients.ask(&new, &mut self.new)
            );
            self.rounds += 1;
            next += 1;
            sleep(PAUSE).await;
        }
    }
}
