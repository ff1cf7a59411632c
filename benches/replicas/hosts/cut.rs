//! One host is cut off from the origin and the shared cache, an image is purged at the other, and the cable
//! is plugged in again.

use std::time::{Duration, Instant};

use tokio::time::sleep;

use super::Stage;
use super::namespaces::{Link, RIGHT, plug};
use crate::Outcome;
use crate::client::Client;
use crate::fleet::{self, Sockets, Tier};
use crate::load::{self, Sweeps};
use crate::options::Options;
use crate::report::{Report, Row};
use crate::scenes::purge::purge;
use crate::watch::Watch;

pub(crate) async fn play(options: &Options, stage: &Stage, tier: Tier) -> Outcome<Report<Row>> {
    let mut report = Report::default();
    report.rows.push(gang(options, stage, tier).await?);
    cut(stage, &mut report).await?;
    report.rows.push(back(stage).await?);
    Ok(report)
}

/// Both hosts under load; one loses its cable, and hears nothing of what happens at the other.
async fn cut(stage: &Stage, report: &mut Report<Row>) -> Outcome<()> {
    let (begun, before) = (Instant::now(), fleet::calls(&stage.origin));
    let left = Sweeps::start(&stage.left.sockets, &stage.images, SWEEP);
    let right = Sweeps::start(&stage.right.sockets, &stage.images, SWEEP);
    sleep(SWEEP).await;
    plug(RIGHT, Link::Down)?;
    sleep(SWEEP).await;
    let watch = Watch::start(&stage.left.sockets, &stage.images, CHANGED);
    stage.images.change(CHANGED, &stage.origin)?;
    let ordered = Instant::now();
    purge(&stage.left.sockets[0], &stage.images.ids()[CHANGED]).await?;
    sleep(CUT).await;
    let spread = watch.stop(ordered).await?;
    let told = cache_status(&stage.right.sockets, stage).await?;
    report.notes.push(format!(
        "The host that was cut off answered the purged image with `Cache-Status: {told}`."
    ));
    let (left, right, took) = (left.stop().await?, right.stop().await?, begun.elapsed());
    let row = |scene: &str, calls, tally| Row {
        scene: scene.to_owned(),
        calls,
        ideal: None,
        tally,
        took,
        bars: Vec::new(),
    };
    let calls = fleet::calls(&stage.origin) - before;
    let left = row(
        "a host is cut off, an image purged: the other host",
        calls,
        left,
    );
    let right = row("the host that is cut off", 0, right);
    report.rows.push(left.spread(&spread, BAR).all_answered());
    report.rows.push(right.all_answered());
    Ok(())
}

async fn gang(options: &Options, stage: &Stage, tier: Tier) -> Outcome<Row> {
    let begun = Instant::now();
    let all = [stage.left.sockets.clone(), stage.right.sockets.clone()].concat();
    let tally = load::gang(&all, &stage.images, options.connections, PATIENCE).await?;
    let row = Row {
        scene: "gang start on two hosts".to_owned(),
        calls: fleet::calls(&stage.origin),
        ideal: Some(options.images() as f64),
        tally,
        took: begun.elapsed(),
        bars: Vec::new(),
    };
    Ok(match tier {
        Tier::Alone => row,
        Tier::Shared => row.at_most(1.05).all_answered(),
    })
}

/// Until every gateway of the host answers what the others have.
async fn back(stage: &Stage) -> Outcome<Row> {
    let before = fleet::calls(&stage.origin);
    let watch = Watch::start(&stage.right.sockets, &stage.images, CHANGED);
    let begun = Instant::now();
    plug(RIGHT, Link::Up)?;
    sleep(RETURN).await;
    let spread = watch.stop(begun).await?;
    let row = Row {
        scene: "the connection is back".to_owned(),
        calls: fleet::calls(&stage.origin) - before,
        ideal: None,
        tally: spread.tally,
        took: begun.elapsed(),
        bars: Vec::new(),
    };
    Ok(row.spread(&spread, RETURN).all_answered())
}

/// What a gateway says of the changed image.
async fn cache_status(sockets: &[Sockets], stage: &Stage) -> Outcome<String> {
    let mut client = Client::open(&sockets[0].data).await?;
    let answer = client.image(&stage.images.ids()[CHANGED]).await?;
    Ok(answer.cache_status)
}

/// The image that changes.
const CHANGED: usize = 0;
/// Each gateway is asked for each image once in it.
const SWEEP: Duration = Duration::from_secs(2);
/// How long the host stays cut off after the purge.
const CUT: Duration = Duration::from_secs(6);
const RETURN: Duration = Duration::from_secs(15);
const PATIENCE: Duration = Duration::from_secs(60);
const BAR: Duration = Duration::from_secs(1);
