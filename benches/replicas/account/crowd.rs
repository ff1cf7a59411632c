//! Clients that all ask at once, and come again exactly when they are told to.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use futures_util::future::try_join_all;
use tokio::task::JoinSet;
use tokio::time::sleep;

use crate::Outcome;
use crate::client::{Answer, Client};

/// One client and its request.
pub(super) struct Visitor {
    /// Socket of the gateway that it asks.
    pub(super) socket: PathBuf,
    pub(super) errand: Errand,
}

#[derive(Debug, Clone)]
pub(super) enum Errand {
    /// GET of this target.
    Get(String),
    /// Resolve of these ids.
    Resolve(Vec<String>),
}

/// Experience of all clients.
#[derive(Debug, Default)]
pub(super) struct Crowd {
    /// Time from a client's first request to its answer, the shortest first.
    waits: Vec<Duration>,
    /// Requests of each answered client.
    tries: Vec<usize>,
    /// Clients without an answer, by the status of their last response.
    pub(super) failed: BTreeMap<u16, usize>,
}

/// Experience of one client.
enum Visit {
    /// It got its answer so long after its first request.
    Answered { wait: Duration, tries: usize },
    /// It gave up, or was not told to come again.
    Failed(u16),
}

impl Crowd {
    /// Opens all connections, then sends all requests at once.
    pub(super) async fn send(visitors: Vec<Visitor>) -> Outcome<Self> {
        let sockets = visitors.iter().map(|visitor| Client::open(&visitor.socket));
        let clients = try_join_all(sockets).await?;
        let (mut visits, mut crowd) = (JoinSet::new(), Self::default());
        for (client, visitor) in clients.into_iter().zip(visitors) {
            visits.spawn(visit(client, visitor.errand));
        }
        while let Some(visit) = visits.join_next().await {
            match visit?? {
                Visit::Answered { wait, tries } => {
                    crowd.waits.push(wait);
                    crowd.tries.push(tries);
                }
                Visit::Failed(status) => *crowd.failed.entry(status).or_default() += 1,
            }
        }
        crowd.waits.sort_unstable();
        Ok(crowd)
    }

    pub(super) fn size(&self) -> usize {
        self.waits.len() + self.failed.values().sum::<usize>()
    }

    /// Number of clients answered within this time.
    pub(super) fn answered_by(&self, time: Duration) -> usize {
        self.waits.partition_point(|wait| *wait <= time)
    }

    /// Wait that this part of the answered clients did not exceed (nearest rank); zero without any.
    pub(super) fn wait(&self, part: f64) -> Duration {
        let rank = (part * self.waits.len() as f64).ceil() as usize;
        let wait = self.waits.get(rank.saturating_sub(1));
        wait.copied().unwrap_or_default()
    }

    pub(super) fn mean_tries(&self) -> f64 {
        self.tries.iter().sum::<usize>() as f64 / self.tries.len().max(1) as f64
    }

    pub(super) fn most_tries(&self) -> usize {
        self.tries.iter().copied().max().unwrap_or(0)
    }
}

async fn visit(mut client: Client, errand: Errand) -> Outcome<Visit> {
    let begun = Instant::now();
    let mut status = 0;
    for tries in 1..=MOST_TRIES {
        let answer = errand.send(&mut client).await?;
        if errand.is_done_by(&answer) {
            let wait = begun.elapsed();
            return Ok(Visit::Answered { wait, tries });
        }
        status = answer.status;
        match answer.retry_after.filter(|_| status == 429) {
            Some(pause) => sleep(pause).await,
            None => break,
        }
    }
    Ok(Visit::Failed(status))
}

impl Errand {
    async fn send(&self, client: &mut Client) -> Outcome<Answer> {
        match self {
            Self::Get(target) => client.get(target).await,
            Self::Resolve(ids) => {
                let body = serde_json::json!({ "ImageIds": ids }).to_string();
                client.post("/gateway/v1/resolve", &body).await
            }
        }
    }

    /// A Resolve must have found every image.
    fn is_done_by(&self, answer: &Answer) -> bool {
        let found = || answer.body.matches(r#""Status":"found""#).count();
        answer.status == 200
            && match self {
                Self::Get(_) => true,
                Self::Resolve(ids) => found() == ids.len(),
            }
    }
}

/// Tries after which a client gives up.
const MOST_TRIES: usize = 20;
