//! Gateways in front of one origin, with one shared cache or none.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use futures_util::future::join_all;
use pai_image_gateway::app::{self, App};
use pai_image_gateway::config::{self, Layers};
use pai_image_gateway::emulator::{Emulator, Settings};
use pai_image_gateway::environment::Environment;
use secrecy::ExposeSecret;
use tempfile::TempDir;

use super::Outcome;
use super::images::Images;
use super::options::Options;
use super::support::redis::Redis;

/// What share memories.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Tier {
    /// Nobody.
    Alone,
    /// All of them.
    Shared,
}

/// All that runs in a scene.
pub(crate) struct Fleet {
    pub(crate) origin: Emulator,
    pub(crate) redis: Option<Redis>,
    pub(crate) images: Arc<Images>,
    pub(crate) sockets: Vec<Sockets>,
    apps: Vec<App>,
    settings: Vec<String>,
    folder: TempDir,
}

/// Where a gateway is asked.
#[derive(Debug, Clone)]
pub(crate) struct Sockets {
    pub(crate) data: PathBuf,
    pub(crate) admin: PathBuf,
}

impl Sockets {
    pub(crate) fn of(folder: &Path, place: usize) -> Self {
        Self {
            data: folder.join(format!("{place}.data")),
            admin: folder.join(format!("{place}.admin")),
        }
    }

    /// The settings that name them.
    pub(crate) fn settings(&self) -> [String; 2] {
        [
            format!("listen.unix={}", self.data.display()),
            format!("admin.unix={}", self.admin.display()),
        ]
    }
}

impl Fleet {
    pub(crate) async fn start(options: &Options, tier: Tier, more: &[String]) -> Outcome<Self> {
        let settings = Settings {
            images: options.images(),
            latency: options.latency.0,
            quota_per_second: Some(options.quota()),
            ..Settings::default()
        };
        let origin = Emulator::start(settings).await?;
        let mut settings = options.settings(tier);
        settings.push(format!("upstream.endpoint=http://{}", origin.address()));
        settings.extend_from_slice(more);
        let redis = match tier {
            Tier::Alone => None,
            Tier::Shared => {
                let redis = Redis::start(options.kind(), |_| {}).await;
                let redis = redis.ok_or("the shared tier's server is missing")?;
                settings.push(format!("shared_cache.url={}", redis.url()));
                Some(redis)
            }
        };
        let mut fleet = Self {
            origin,
            redis,
            images: Arc::new(Images::new(options.images())),
            sockets: Vec::new(),
            apps: Vec::new(),
            settings,
            folder: tempfile::tempdir()?,
        };
        for _ in 0..options.replicas() {
            fleet.grow().await?;
        }
        Ok(fleet)
    }

    /// One gateway more, the last of [`Fleet::sockets`].
    pub(crate) async fn grow(&mut self) -> Outcome<()> {
        let sockets = Sockets::of(self.folder.path(), self.sockets.len());
        let own = sockets.settings();
        let flags = self.settings.iter().chain(&own).map(String::as_str);
        let loaded = config::load(&Layers::new().flags(flags))?;
        let app = App::start(&loaded, &credential(), app::Process::default()).await?;
        self.apps.push(app);
        self.sockets.push(sockets);
        Ok(())
    }

    /// GetImage requests that the origin has had.
    pub(crate) fn calls(&self) -> u64 {
        calls(&self.origin)
    }

    /// What all gateways together have asked of the shared tier, and what came of it, in words.
    pub(crate) fn asked(&self) -> String {
        let mut counts = BTreeMap::new();
        for app in &self.apps {
            for (operation, result, count) in app.metrics.shared.requests() {
                let name = format!("{} {}", operation.as_str(), result.as_str());
                *counts.entry(name).or_insert(0) += count;
            }
        }
        let counts: Vec<String> = counts
            .iter()
            .map(|(name, count)| format!("{name} {count}"))
            .collect();
        counts.join(", ")
    }

    /// Stops all gateways, then what they asked.
    pub(crate) async fn stop(self) {
        join_all(self.apps.into_iter().map(App::stop)).await;
        self.origin.shutdown().await;
    }
}

/// GetImage requests that an origin has had, throttled ones too.
pub(crate) fn calls(origin: &Emulator) -> u64 {
    let counts = origin.counts();
    counts.operations.get("GetImage").copied().unwrap_or(0)
}

/// The emulator's own key.
pub(crate) fn credential() -> Environment {
    let known = Settings::default();
    [
        ("ALIBABA_CLOUD_ACCESS_KEY_ID", known.access_key_id.as_str()),
        (
            "ALIBABA_CLOUD_ACCESS_KEY_SECRET",
            known.access_key_secret.expose_secret(),
        ),
    ]
    .map(|(name, value)| (name.to_owned(), value.to_owned()))
    .into()
}
