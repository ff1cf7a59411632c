//! Clients of the gateways, and counts of their responses.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval, sleep};
use tokio_util::sync::CancellationToken;

use super::Outcome;
use super::client::{Answer, Client};
use super::fleet::Sockets;
use super::images::Images;

/// What came of requests.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct Tally {
    pub(crate) answered: u64,
    /// Told to come again, and did.
    pub(crate) refused: u64,
    /// Not answered, or not with the image.
    pub(crate) failed: u64,
    /// Answered with what the gateway knew to be out of date.
    pub(crate) stale: u64,
    /// How long the oldest answer had been out of date at the origin.
    pub(crate) oldest: Duration,
    pub(crate) slowest: Duration,
}

impl Tally {
    pub(crate) fn add(&mut self, other: &Self) {
        self.answered += other.answered;
        self.refused += other.refused;
        self.failed += other.failed;
        self.stale += other.stale;
        self.oldest = self.oldest.max(other.oldest);
        self.slowest = self.slowest.max(other.slowest);
    }

    pub(crate) fn note(&mut self, answer: &Outcome<Answer>, staleness: Duration, took: Duration) {
        match answer {
            Ok(answer) if answer.status == 200 => {
                self.answered += 1;
                self.stale += u64::from(answer.is_stale());
            }
            Ok(_) | Err(_) => self.failed += 1,
        }
        self.oldest = self.oldest.max(staleness);
        self.slowest = self.slowest.max(took);
    }
}

/// Every gateway is asked for every image once, over so many connections each, as fast as it answers.
/// Who is refused asks again, until `patience` ends.
pub(crate) async fn gang(
    sockets: &[Sockets],
    images: &Arc<Images>,
    connections: usize,
    patience: Duration,
) -> Outcome<Tally> {
    let (mut clients, until) = (JoinSet::new(), Instant::now() + patience);
    for one in sockets {
        let next = Arc::new(AtomicUsize::new(0));
        for _ in 0..connections {
            let (next, images, socket) = (Arc::clone(&next), Arc::clone(images), one.data.clone());
            clients.spawn(async move {
                let (mut client, mut tally) = (Client::open(&socket).await?, Tally::default());
                while let Some(id) = images.ids().get(next.fetch_add(1, Ordering::Relaxed)) {
                    persist(&mut client, id, until, &mut tally).await?;
                }
                Outcome::Ok(tally)
            });
        }
    }
    sum(clients).await
}

async fn persist(client: &mut Client, id: &str, until: Instant, tally: &mut Tally) -> Outcome<()> {
    let asked = Instant::now();
    loop {
        let answer = client.image(id).await?;
        let is_answered = answer.status == 200;
        if is_answered || Instant::now() > until {
            tally.note(&Ok(answer), Duration::ZERO, asked.elapsed());
            return Ok(());
        }
        tally.refused += 1;
        sleep(PAUSE).await;
    }
}

/// A load that goes on until it is told to stop.
pub(crate) struct Sweeps {
    clients: JoinSet<Outcome<Tally>>,
    stop: CancellationToken,
}

impl Sweeps {
    /// Every gateway is asked for every image once a `period`, evenly.
    pub(crate) fn start(sockets: &[Sockets], images: &Arc<Images>, period: Duration) -> Self {
        let (mut clients, stop) = (JoinSet::new(), CancellationToken::new());
        for one in sockets {
            let (socket, images) = (one.data.clone(), Arc::clone(images));
            clients.spawn(sweep(socket, images, period, stop.clone()));
        }
        Self { clients, stop }
    }

    pub(crate) async fn stop(self) -> Outcome<Tally> {
        self.stop.cancel();
        sum(self.clients).await
    }
}

async fn sweep(
    socket: PathBuf,
    images: Arc<Images>,
    period: Duration,
    stop: CancellationToken,
) -> Outcome<Tally> {
    let (mut client, mut tally) = (Client::open(&socket).await?, Tally::default());
    let count = images.ids().len();
    let mut place = fastrand::usize(..count);
    let mut ticks = interval(period / u32::try_from(count)?);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    while !stop.is_cancelled() {
        ticks.tick().await;
        place = (place + 1) % count;
        let asked = Instant::now();
        let answer = client.image(&images.ids()[place]).await;
        let staleness = answer.as_ref().map_or(Duration::ZERO, |answer| {
            images.staleness(place, &answer.body, asked)
        });
        tally.note(&answer, staleness, asked.elapsed());
        if answer.is_err() {
            client = Client::open(&socket).await?;
        }
    }
    Ok(tally)
}

async fn sum(mut clients: JoinSet<Outcome<Tally>>) -> Outcome<Tally> {
    let mut sum = Tally::default();
    while let Some(tally) = clients.join_next().await {
        sum.add(&tally??);
    }
    Ok(sum)
}

/// How long who was refused waits.
const PAUSE: Duration = Duration::from_millis(200);
