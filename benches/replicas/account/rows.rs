//! The rows of the bar, each with the gateways of one setup.

use std::time::Duration;

use super::catalogue::Catalogue;
use super::crowd::{Crowd, Errand, Visitor};
use super::row::{PATIENCE, Row};
use super::{Setup, Stage};
use crate::Outcome;
use crate::fleet::Tier;
use crate::options::Options;

/// Different images at once, one client for each image and gateway.
pub(super) async fn images(options: &Options, setup: Setup) -> Outcome<Row> {
    let (images, gateways) = (options.images(), setup.gateways(options));
    let what = format!("GetImage of {images} images{}", each(setup));
    let stage = Stage::start(options, setup, images).await?;
    let targets = stage.fleet.images.ids().to_vec();
    let errands = targets
        .into_iter()
        .map(|id| Errand::Get(format!("/api/v1/images/{id}")));
    let errands: Vec<_> = errands.collect();
    let row = ask(stage, options, what, &errands).await?.in_order();
    if setup.catalogue == Catalogue::On {
        return Ok(row
            .must(format!("at most {WALK_CALLS} calls"), |row| {
                row.calls.made <= WALK_CALLS
            })
            .must("all answered within 1 s", |row| {
                all_within(&row.crowd, AT_ONCE)
            }));
    }
    let (by_then, calls) = (images * gateways * 7 / 10, images as u64);
    let row = row
        .must(format!("{calls} calls"), |row| row.calls.made == calls)
        .must(format!("{by_then} answered by 2.5 s"), |row| {
            row.crowd.answered_by(PATIENCE) >= by_then
        });
    Ok(match setup.tier {
        Tier::Alone => row.must("at most two tries", |row| row.crowd.most_tries() <= 2),
        // A fleet's promise is an estimate.
        Tier::Shared => row,
    })
}

/// A Resolve of cold images at each gateway.
pub(super) async fn resolve(options: &Options, setup: Setup) -> Outcome<Row> {
    let ids = if options.smoke {
        SMOKE_RESOLVE
    } else {
        RESOLVE
    };
    let what = format!("Resolve of {ids} ids{}", each(setup));
    let stage = Stage::start(options, setup, ids).await?;
    let errands = [Errand::Resolve(stage.fleet.images.ids().to_vec())];
    let row = ask(stage, options, what, &errands).await?.in_order();
    let bar = match setup.catalogue {
        Catalogue::On => CATALOGUE_RESOLVE,
        Catalogue::Off => {
            let rate = f64::from(options.quota()) * USED_PART;
            Duration::from_secs_f64(RESOLVE_SLACK * ids as f64 / rate)
        }
    };
    Ok(
        row.must(format!("within {:.1} s", bar.as_secs_f64()), |row| {
            all_within(&row.crowd, bar)
        }),
    )
}

/// One list, asked for by many clients of each gateway.
pub(super) async fn lists(options: &Options, setup: Setup) -> Outcome<Row> {
    let what = format!("{LISTS} identical lists{}", each(setup));
    let stage = Stage::start(options, setup, options.images()).await?;
    let list = Errand::Get("/api/v1/images?WorkspaceId=15945&PageSize=50".to_owned());
    let errands = vec![list; LISTS];
    let (calls, walk) = (setup.gateways(options) as u64, stage.calls());
    let mut row = ask(stage, options, what, &errands).await?;
    row.calls = row.calls.since(walk);
    let row = row.in_order();
    // Lists are not in the shared cache.
    let bar = match setup.tier {
        Tier::Alone => "1 call".to_owned(),
        Tier::Shared => "1 call a gateway".to_owned(),
    };
    Ok(row.must(bar, |row| row.calls.made <= calls))
}

/// Has every gateway asked all of this by a client each, at once.
async fn ask(stage: Stage, options: &Options, what: String, errands: &[Errand]) -> Outcome<Row> {
    let visitors = stage.fleet.sockets.iter().flat_map(|sockets| {
        errands.iter().map(|errand| Visitor {
            socket: sockets.data.clone(),
            errand: errand.clone(),
        })
    });
    let crowd = Crowd::send(visitors.collect()).await?;
    let row = Row {
        gateways: stage.setup.name(options),
        what,
        calls: stage.calls(),
        crowd,
        bars: Vec::new(),
        shared: stage.fleet.asked(),
    };
    stage.fleet.stop().await;
    Ok(row)
}

fn each(setup: Setup) -> &'static str {
    match setup.tier {
        Tier::Alone => "",
        Tier::Shared => " at each",
    }
}

fn all_within(crowd: &Crowd, time: Duration) -> bool {
    crowd.answered_by(time) == crowd.size()
}

const LISTS: usize = 100;
const RESOLVE: usize = 1_000;
/// Five windows of the pace.
const SMOKE_RESOLVE: usize = 235;
/// Part of the quota that a gateway uses.
const USED_PART: f64 = 0.95;
const RESOLVE_SLACK: f64 = 1.1;
/// Time for a Resolve, and for any number of images at once, that a catalogue answers.
const CATALOGUE_RESOLVE: Duration = Duration::from_secs(2);
const AT_ONCE: Duration = Duration::from_secs(1);
/// Calls for a catalogue of two hundred images, since the gateways' start.
const WALK_CALLS: u64 = 10;
