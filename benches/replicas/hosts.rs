//! Gateways as processes on two hosts, which a bridge connects with the origin and the shared cache.
//!
//! The hosts are network namespaces. This program runs in the one with the bridge; it reaches the
//! gateways by their Unix sockets, which a cut cable does not affect.

mod cut;
mod machine;
mod namespaces;

use std::env;
use std::io::Write;
use std::process::ExitCode;

use pai_image_gateway::emulator::{Emulator, Settings};
use tokio::process::Command;
use tokio::signal::unix::{SignalKind, signal};

use crate::Outcome;
use crate::fleet::Tier;
use crate::images::Images;
use crate::options::Options;
use crate::report::{Report, Row};
use crate::support::redis::Redis;
use machine::Machine;
use namespaces::{Namespaces, ORIGIN_ADDRESS};

/// Makes the hosts and runs this program again in between; removes them whatever comes of it. Where
/// that is not allowed, says so.
pub(crate) async fn enter() -> Outcome<ExitCode> {
    let namespaces = match Namespaces::make() {
        Ok(namespaces) => namespaces,
        Err(error) => {
            writeln!(std::io::stderr(), "SKIPPED: no hosts to play with: {error}")?;
            return Ok(ExitCode::SUCCESS);
        }
    };
    let mut terminated = signal(SignalKind::terminate())?;
    let mut interrupted = signal(SignalKind::interrupt())?;
    let mut inside = Command::new("ip")
        .args(["netns", "exec", &namespaces.middle()])
        .args(["setpriv", "--pdeathsig", "KILL", "--"])
        .arg(env::current_exe()?)
        .args(env::args_os().skip(1))
        .args(["--inside", namespaces.stem()])
        .spawn()?;
    let status = tokio::select! {
        status = inside.wait() => status?,
        _ = terminated.recv() => return Err("terminated".into()),
        _ = interrupted.recv() => return Err("interrupted".into()),
    };
    Ok(match status.success() {
        true => ExitCode::SUCCESS,
        false => ExitCode::FAILURE,
    })
}

/// Two hosts with gateways, and what lies between.
struct Stage {
    origin: Emulator,
    images: std::sync::Arc<Images>,
    left: Machine,
    right: Machine,
    // Outlives the gateways.
    _redis: Option<Redis>,
}

impl Stage {
    async fn set(options: &Options, stem: &str) -> Outcome<(Self, Tier)> {
        let origin = Emulator::start(Settings {
            listen: (ORIGIN_ADDRESS, 0).into(),
            images: options.images(),
            latency: options.latency.0,
            quota_per_second: Some(options.quota()),
            ..Settings::default()
        })
        .await?;
        let tier = if options.alone {
            Tier::Alone
        } else {
            Tier::Shared
        };
        let mut settings = options.settings(tier);
        settings.push(format!("upstream.endpoint=http://{}", origin.address()));
        let redis = match tier {
            Tier::Alone => None,
            Tier::Shared => {
                Redis::start(options.kind(), |redis| {
                    redis.host = Some(ORIGIN_ADDRESS);
                    redis.set("protected-mode", "no");
                })
                .await
            }
        };
        if let Some(redis) = &redis {
            settings.push(format!("shared_cache.url={}", redis.url()));
        }
        let each = options.replicas() / 2;
        let stage = Self {
            origin,
            images: Images::new(options.images()).into(),
            left: Machine::start(stem, namespaces::LEFT, each, &settings).await?,
            right: Machine::start(stem, namespaces::RIGHT, each, &settings).await?,
            _redis: redis,
        };
        Ok((stage, tier))
    }
}

pub(crate) async fn play(options: &Options, stem: &str) -> Outcome<Report<Row>> {
    let (stage, tier) = Stage::set(options, stem).await?;
    cut::play(options, &stage, tier).await
}
