//! A signed write reaches the origin at most once, across restarts, renames and replicas.

use std::path::Path;
use std::sync::Arc;

use http::Method;
use pai_image_gateway::emulator::{Emulator, Store};
use proptest::prelude::*;
use proptest::strategy::ValueTree as _;
use proptest::test_runner::TestRunner;

use crate::shared;
use crate::support::redis::{Kind, Redis};
use crate::support::signed::{Guarded, Signer, clients, guard};
use crate::support::{Setup, TestGateway, eventually, path};

/// A unique write, signed once.
struct Write {
    target: String,
    headers: Vec<(String, String)>,
}

impl Write {
    fn new(number: usize) -> Self {
        let target = format!("{}/labels/key-{number}", path(&Store::id(1)));
        let headers = Signer::chief().sign(&Method::DELETE, &target, "");
        Self { target, headers }
    }

    async fn send(&self, gateway: &TestGateway) -> (u16, String) {
        let pairs = self.headers.iter();
        let headers: Vec<_> = pairs
            .map(|(name, value)| (name.as_str(), value.as_str()))
            .collect();
        let answer = gateway
            .request(Method::DELETE, &self.target, &headers, "")
            .await;
        let status = answer.status.as_u16();
        let code = if status == 200 {
            String::new()
        } else {
            answer.error_code()
        };
        (status, code)
    }
}

/// Returns the number of writes that the origin has executed.
fn carried_out(origin: &Emulator) -> u64 {
    let counts = origin.counts().operations;
    counts.get("RemoveImageLabels").copied().unwrap_or(0)
}

/// Starts a replica whose state and clients are in `folder`.
async fn replica(origin: &Arc<Emulator>, folder: &Path, url: Option<&str>) -> TestGateway {
    let change = |setup: &mut Setup| {
        guard(setup, folder);
        setup.set("reload.interval", "50ms");
    };
    match url {
        Some(url) => shared::replica(origin, url, change).await,
        None => TestGateway::beside(origin, change).await,
    }
}

/// An event in a fleet between two writes.
#[derive(Debug, Clone)]
enum Event {
    /// One of a few writes arrives at a replica.
    Send(usize, usize),
    /// A replica stops and starts.
    Restart(usize),
    /// A client gets another name; its key stays.
    Rename,
    /// The clients file is empty for a moment.
    Empty,
}

fn event(replicas: usize) -> impl Strategy<Value = Event> {
    prop_oneof![
        8 => (0..6_usize, 0..replicas).prop_map(|(write, to)| Event::Send(write, to)),
        2 => (0..replicas).prop_map(Event::Restart),
        1 => Just(Event::Rename),
        1 => Just(Event::Empty),
    ]
}

/// Executes events and returns the number of writes that were answered with 200.
async fn play(origin: &Arc<Emulator>, url: Option<&str>, replicas: usize, events: Vec<Event>) {
    let folders: Vec<_> = (0..replicas).map(|_| clients()).collect();
    let mut fleet = Vec::new();
    for folder in &folders {
        fleet.push(Some(replica(origin, folder.path(), url).await));
    }
    let writes: Vec<_> = (0..6).map(Write::new).collect();
    let (before, mut done) = (carried_out(origin), [0; 6]);
    for event in events {
        match event {
            Event::Send(write, to) => {
                let (status, _) = writes[write].send(fleet[to].as_ref().unwrap()).await;
                done[write] += u64::from(status == 200);
            }
            Event::Restart(which) => {
                fleet[which].take().unwrap().app.stop().await;
                fleet[which] = Some(replica(origin, folders[which].path(), url).await);
            }
            Event::Rename | Event::Empty => {
                for folder in &folders {
                    let file = folder.path().join("clients.toml");
                    let text = std::fs::read_to_string(&file).unwrap();
                    let renamed = text.replace("\"chief\"", "\"boss\"");
                    std::fs::write(&file, "").unwrap();
                    tokio::time::sleep(std::time::Duration::from_millis(120)).await;
                    let next = if matches!(event, Event::Empty) {
                        text
                    } else {
                        renamed
                    };
                    std::fs::write(&file, next).unwrap();
                }
            }
        }
    }
    assert!(done.iter().all(|times| *times <= 1), "{done:?}");
    assert_eq!(carried_out(origin) - before, done.iter().sum::<u64>());
    for gateway in fleet.into_iter().flatten() {
        gateway.app.stop().await;
    }
}

#[tokio::test]
async fn a_write_reaches_the_origin_once_over_restart_rename_and_two_replicas() {
    let origin = Arc::new(Emulator::start(shared::origin()).await.unwrap());
    let redis = Redis::start(Kind::Redis, |_| {}).await;
    let mut runner = TestRunner::default();
    for _ in 0..4 {
        for (url, replicas) in [(None, 1), (redis.as_ref().map(Redis::url), 2)] {
            if replicas > 1 && url.is_none() {
                continue;
            }
            let events = prop::collection::vec(event(replicas), 12);
            let events = events.new_tree(&mut runner).unwrap().current();
            play(&origin, url.as_deref(), replicas, events).await;
        }
    }
    assert!(carried_out(&origin) > 0, "no write was ever sent");
}

#[tokio::test]
async fn without_the_tier_no_signed_write_is_sent() {
    let Some(mut redis) = Redis::start(Kind::Redis, |_| {}).await else {
        return;
    };
    let origin = Arc::new(Emulator::start(shared::origin()).await.unwrap());
    let folder = clients();
    let gateway = replica(&origin, folder.path(), Some(&redis.url())).await;
    assert_eq!(Write::new(1).send(&gateway).await.0, 200);
    redis.kill();
    let away = (503, "Gateway.UpstreamUnavailable".to_owned());
    let sent = carried_out(&origin);
    let (first, second) = (Write::new(2), Write::new(2));
    assert_eq!(first.send(&gateway).await, away);
    assert_eq!(carried_out(&origin), sent);
    let image = path(&Store::id(1));
    let signed = Signer::chief().sign(&Method::GET, &image, "");
    let pairs: Vec<_> = signed
        .iter()
        .map(|(name, value)| (name.as_str(), value.as_str()))
        .collect();
    let read = gateway.request(Method::GET, &image, &pairs, "").await;
    assert_eq!(read.status, 200, "its loss is a miss for reads");
    redis.restart().await;
    // The record came back empty: what was signed before is not known, what is signed from then on is.
    eventually("writes go on", async || {
        Write::new(3).send(&gateway).await.0 == 200
    })
    .await;
    // Its budget may be used up by then, which refuses it too.
    assert_ne!(second.send(&gateway).await.0, 200);
}

#[tokio::test]
async fn where_no_journal_can_be_kept_writes_from_around_the_start_are_refused() {
    let nowhere = Guarded::start(|setup| {
        setup.set("auth.write_journal", "/proc/nowhere/journal");
    })
    .await;
    let early = Write::new(1).send(&nowhere.gateway).await;
    assert_eq!(early, (400, "InvalidTimeStamp.Expired".to_owned()));
    let refused = [("reason", "expired")];
    let counted = "pai_gateway_sign_ins_refused_total";
    assert_eq!(nowhere.gateway.metric(counted, &refused).await, 1.0);
    eventually("later ones go", async || {
        Write::new(2).send(&nowhere.gateway).await.0 == 200
    })
    .await;
}
