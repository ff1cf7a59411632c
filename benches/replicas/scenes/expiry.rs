//! Steady load while images expire.

use std::time::Instant;

use tokio::time::sleep;

use crate::Outcome;
use crate::fleet::{Fleet, Tier};
use crate::load::Sweeps;
use crate::options::Options;
use crate::report::Row;

/// Every image is changed once, in the middle: the longest that anybody is answered the old one is told.
pub(super) async fn play(options: &Options, fleet: &Fleet, tier: Tier) -> Outcome<Row> {
    let (ttl, before) = (options.ttl().0, fleet.calls());
    let (time, begun) = (ttl * options.ttls, Instant::now());
    let load = Sweeps::start(&fleet.sockets, &fleet.images, ttl / 2);
    sleep(time / 2).await;
    for place in 0..options.images() {
        fleet.images.change(place, &fleet.origin)?;
    }
    sleep(time / 2).await;
    let (tally, took) = (load.stop().await?, begun.elapsed());
    let once = took.as_secs_f64() / ttl.as_secs_f64() * options.images() as f64;
    let row = Row {
        scene: match tier {
            Tier::Alone => "images expire, no shared cache",
            Tier::Shared => "images expire",
        }
        .to_owned(),
        calls: fleet.calls() - before,
        ideal: Some(match tier {
            Tier::Alone => once * options.replicas() as f64,
            Tier::Shared => once,
        }),
        tally,
        took,
        bars: Vec::new(),
    };
    Ok(match tier {
        Tier::Alone => row,
        Tier::Shared => row.at_most(BAR).all_answered(),
    })
}

/// An early refresh begins when 70 % of a ttl have passed, or later.
const BAR: f64 = 1.5;
