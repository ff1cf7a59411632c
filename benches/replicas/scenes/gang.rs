//! A gang start: clients request every image from every cold gateway at once.

use std::time::{Duration, Instant};

use crate::Outcome;
use crate::fleet::{Fleet, Tier};
use crate::load;
use crate::options::Options;
use crate::report::Row;

pub(super) async fn play(options: &Options, fleet: &Fleet, tier: Tier) -> Outcome<Row> {
    let (begun, images) = (Instant::now(), options.images() as f64);
    let tally = load::gang(&fleet.sockets, &fleet.images, options.connections, PATIENCE).await?;
    let row = Row {
        scene: match tier {
            Tier::Alone => "gang start, no shared cache",
            Tier::Shared => "gang start",
        }
        .to_owned(),
        calls: fleet.calls(),
        ideal: Some(match tier {
            Tier::Alone => images * options.replicas() as f64,
            Tier::Shared => images,
        }),
        tally,
        took: begun.elapsed(),
        bars: Vec::new(),
    };
    Ok(match tier {
        Tier::Alone => row,
        Tier::Shared => row.at_most(BAR).all_answered(),
    })
}

/// The same, before a scene that begins with full memories.
pub(super) async fn warm(options: &Options, fleet: &Fleet) -> Outcome<()> {
    let tally = load::gang(&fleet.sockets, &fleet.images, options.connections, PATIENCE).await?;
    match tally.failed {
        0 => Ok(()),
        failed => Err(format!("{failed} requests failed before the scene began").into()),
    }
}

/// The account's quota makes a fleet without a shared tier wait.
const PATIENCE: Duration = Duration::from_secs(240);
const BAR: f64 = 1.05;
