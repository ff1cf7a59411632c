//! Workload of the demo: a gang start, steady traffic, and a changed image.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use indicatif::{ProgressBar, ProgressStyle};
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::load_client::LoadClient;
use crate::emulator::{Emulator, Store};

/// Clients of the gang start, which all connect at once.
pub(super) const GANG: u32 = 2_000;
/// Distinct images that the clients request, and thus upstream calls that the gang start needs at least.
const IMAGES: usize = 50;
/// Connections of the steady traffic, and requests on each of them.
const STEADY: (u32, u32) = (32, 500);
/// Longest time of one phase; beyond it something is broken.
const PHASE_TIMEOUT: Duration = Duration::from_secs(60);

/// Measurements of one phase: requests of the clients, calls that reached the origin, and the time that it took.
pub(super) struct PhaseResult {
    pub(super) name: &'static str,
    pub(super) requests: u64,
    pub(super) upstream_calls: u64,
    pub(super) took: Duration,
}

/// Workload against one gateway, whose upstream calls the emulator counts.
pub(super) struct Workload<'a> {
    gateway: SocketAddr,
    emulator: &'a Emulator,
    images: Vec<String>,
}

impl<'a> Workload<'a> {
    pub(super) fn new(gateway: SocketAddr, emulator: &'a Emulator) -> Self {
        Self {
            gateway,
            emulator,
            images: (0..IMAGES).map(Store::id).collect(),
        }
    }

    pub(super) async fn run(&self) -> anyhow::Result<Vec<PhaseResult>> {
        let gang = self
            .phase(
                "gang start: 2,000 clients at once, 50 images",
                GANG.into(),
                self.gang_start(),
            )
            .await?;
        let requests = u64::from(STEADY.0 * STEADY.1);
        let steady = self
            .phase(
                "steady traffic: 32 connections",
                requests,
                self.steady_traffic(),
            )
            .await?;
        let change = self
            .phase(
                "a changed image, requested with no-cache",
                2,
                self.changed_image(),
            )
            .await?;
        Ok(vec![gang, steady, change])
    }

    async fn phase(
        &self,
        name: &'static str,
        requests: u64,
        work: impl Future<Output = anyhow::Result<()>>,
    ) -> anyhow::Result<PhaseResult> {
        let (calls, started) = (self.emulator.counts().requests, Instant::now());
        timeout(PHASE_TIMEOUT, work)
            .await
            .with_context(|| format!("{name}: not done within a minute"))??;
        let upstream_calls = self.emulator.counts().requests - calls;
        Ok(PhaseResult {
            name,
            requests,
            upstream_calls,
            took: started.elapsed(),
        })
    }

    fn target(&self, number: u32) -> String {
        format!("/api/v1/images/{}", self.images[number as usize % IMAGES])
    }

    /// Sends one request from each client, on a connection of its own, as Python's async SDK does.
    async fn gang_start(&self) -> anyhow::Result<()> {
        let bar = bar("gang start", GANG.into());
        let client = LoadClient::new(self.gateway, Duration::ZERO)?;
        let mut clients = JoinSet::new();
        for number in 0..GANG {
            let (client, target) = (client.clone(), self.target(number));
            clients.spawn(async move { client.get(&target, "").await.map(drop) });
        }
        while let Some(done) = clients.join_next().await {
            done??;
            bar.inc(1);
        }
        bar.finish();
        Ok(())
    }

    async fn steady_traffic(&self) -> anyhow::Result<()> {
        let (connections, each) = STEADY;
        let bar = bar("steady traffic", u64::from(connections * each));
        let client = LoadClient::new(self.gateway, PHASE_TIMEOUT)?;
        let mut clients = JoinSet::new();
        for number in 0..connections {
            let (client, bar) = (client.clone(), bar.clone());
            let targets: Vec<String> = (0..each)
                .map(|request| self.target(number * 7 + request))
                .collect();
            clients.spawn(async move {
                for target in targets {
                    client.get(&target, "").await?;
                    bar.inc(1);
                }
                anyhow::Ok(())
            });
        }
        while let Some(done) = clients.join_next().await {
            done??;
        }
        bar.finish();
        Ok(())
    }

    /// Changes an image at the origin: the cached response is served until a request with `no-cache` fetches the new
    /// one.
    async fn changed_image(&self) -> anyhow::Result<()> {
        let image = self.images.first().context("there are images")?;
        let changed = self
            .emulator
            .store()
            .touch(image)
            .map_err(|_| anyhow::anyhow!("the emulator lost an image"))?;
        // A forced refresh within a second of the last fetch would be answered from the cache.
        tokio::time::sleep(Duration::from_millis(1_100)).await;
        let client = LoadClient::new(self.gateway, PHASE_TIMEOUT)?;
        let target = self.target(0);
        let before = client.get(&target, "").await?;
        let after = client.get(&target, "no-cache").await?;
        let modified = changed.strftime("%Y-%m-%dT%H:%M:%S").to_string();
        ensure!(
            !before.contains(&modified) && after.contains(&modified),
            "the change did not show when it should"
        );
        Ok(())
    }
}

/// Returns a bar of progress towards this many answers.
pub(super) fn bar(name: &'static str, length: u64) -> ProgressBar {
    let style = ProgressStyle::with_template("{msg:16} [{bar:40}] {pos}/{len} {per_sec}")
        .unwrap_or_else(|_| ProgressStyle::default_bar())
        .progress_chars("=> ");
    ProgressBar::new(length)
        .with_style(style)
        .with_message(name)
}
