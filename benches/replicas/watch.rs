//! Requests one image from all gateways repeatedly, until each serves the new version.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::task::JoinSet;
use tokio::time::interval;
use tokio_util::sync::CancellationToken;

use super::Outcome;
use super::client::Client;
use super::fleet::Sockets;
use super::images::Images;
use super::load::Tally;

/// What one gateway answered around a change.
#[derive(Default)]
struct Watched {
    tally: Tally,
    /// When the new version first came.
    first: Option<Instant>,
    /// Old versions after it.
    regressions: u64,
}

/// What a fleet answered around a change.
pub(crate) struct Spread {
    pub(crate) tally: Tally,
    /// From then to the last gateway's first new answer; none where one never came to it.
    pub(crate) longest: Option<Duration>,
    pub(crate) regressions: u64,
}

/// Asks every gateway for one image again and again.
pub(crate) struct Watch {
    watchers: JoinSet<Outcome<Watched>>,
    stop: CancellationToken,
}

impl Spread {
    /// Of all rounds, the worst.
    pub(crate) fn add(&mut self, other: &Self) {
        self.tally.add(&other.tally);
        self.regressions += other.regressions;
        let both = self.longest.zip(other.longest);
        self.longest = both.map(|(one, other)| one.max(other));
    }

    /// Of no gateway yet.
    pub(crate) fn none() -> Self {
        Self {
            tally: Tally::default(),
            longest: Some(Duration::ZERO),
            regressions: 0,
        }
    }
}

impl Watch {
    pub(crate) fn start(sockets: &[Sockets], images: &Arc<Images>, place: usize) -> Self {
        let (mut watchers, stop) = (JoinSet::new(), CancellationToken::new());
        for one in sockets {
            let watch = watch(one.clone(), Arc::clone(images), place, stop.clone());
            watchers.spawn(watch);
        }
        Self { watchers, stop }
    }

    /// What was seen, if the change was to be heard of from then on.
    pub(crate) async fn stop(mut self, begun: Instant) -> Outcome<Spread> {
        self.stop.cancel();
        let mut spread = Spread::none();
        while let Some(watched) = self.watchers.join_next().await {
            let watched = watched??;
            spread.add(&Spread {
                tally: watched.tally,
                longest: watched
                    .first
                    .map(|first| first.saturating_duration_since(begun)),
                regressions: watched.regressions,
            });
        }
        Ok(spread)
    }
}

async fn watch(
    sockets: Sockets,
    images: Arc<Images>,
    place: usize,
    stop: CancellationToken,
) -> Outcome<Watched> {
    let (mut client, mut watched) = (Client::open(&sockets.data).await?, Watched::default());
    let (mut ticks, id) = (interval(EVERY), images.ids()[place].clone());
    while !stop.is_cancelled() {
        ticks.tick().await;
        let asked = Instant::now();
        let answer = client.image(&id).await?;
        let staleness = images.staleness(place, &answer.body, asked);
        if images.is_changed(place, &answer.body) {
            watched.first.get_or_insert_with(Instant::now);
        } else if watched.first.is_some() {
            watched.regressions += 1;
        }
        watched.tally.note(&Ok(answer), staleness, asked.elapsed());
    }
    Ok(watched)
}

const EVERY: Duration = Duration::from_millis(20);
