//! An image changes and is purged at one gateway; all others must serve the new version soon, and never the
//! old one again.

use std::time::{Duration, Instant};

use tokio::time::sleep;

use crate::Outcome;
use crate::client::Client;
use crate::fleet::{Fleet, Sockets};
use crate::report::Row;
use crate::watch::{Spread, Watch};

pub(super) async fn play(fleet: &Fleet) -> Outcome<Row> {
    let (begun, before) = (Instant::now(), fleet.calls());
    let mut spread = Spread::none();
    for place in 0..ROUNDS {
        let watch = Watch::start(&fleet.sockets, &fleet.images, place);
        sleep(SETTLE).await;
        fleet.images.change(place, &fleet.origin)?;
        let ordered = Instant::now();
        let by = &fleet.sockets[place % fleet.sockets.len()];
        purge(by, &fleet.images.ids()[place]).await?;
        sleep(BAR + SETTLE).await;
        spread.add(&watch.stop(ordered).await?);
    }
    let row = Row {
        scene: format!("an image changes and is purged at one gateway, {ROUNDS} times"),
        calls: fleet.calls() - before,
        ideal: Some(ROUNDS as f64),
        tally: spread.tally,
        took: begun.elapsed(),
        bars: Vec::new(),
    };
    Ok(row.spread(&spread, BAR).all_answered())
}

/// Purges an image at a gateway.
pub(crate) async fn purge(sockets: &Sockets, id: &str) -> Outcome<()> {
    let mut admin = Client::open(&sockets.admin).await?;
    let answer = admin
        .post("/purge", &format!(r#"{{"image":"{id}"}}"#))
        .await?;
    match answer.status {
        200 => Ok(()),
        status => Err(format!("the purge was answered {status}: {}", answer.body).into()),
    }
}

const ROUNDS: usize = 5;
/// Time for the watchers to come into step.
const SETTLE: Duration = Duration::from_millis(300);
const BAR: Duration = Duration::from_secs(1);
