//! The origin fails while images expire; a gateway that starts meanwhile has only the shared cache.

use std::slice;
use std::time::{Duration, Instant};

use http::{HeaderMap, StatusCode};
use pai_image_gateway::emulator::{Fault, FaultKind};
use tokio::time::sleep;

use crate::Outcome;
use crate::fleet::{Fleet, Tier};
use crate::load::{self, Sweeps};
use crate::options::Options;
use crate::report::Row;

/// Every gateway has found its way back to the tier by then.
const SETTLED: Duration = Duration::from_secs(4);

pub(super) async fn play(options: &Options, fleet: &mut Fleet, tier: Tier) -> Outcome<Vec<Row>> {
    let ttl = options.ttl().0;
    // The tier may just have come back empty: what is to be known through the outage is fetched first.
    let settling = Sweeps::start(&fleet.sockets, &fleet.images, ttl / 2);
    sleep(SETTLED + ttl * 3).await;
    settling.stop().await?;
    let (before, begun) = (fleet.calls(), Instant::now());
    let load = Sweeps::start(&fleet.sockets, &fleet.images, ttl / 2);
    fleet.origin.script(vec![Fault::always(failure())]);
    sleep(ttl * options.ttls / 2).await;
    let newcomer = match tier {
        Tier::Alone => None,
        Tier::Shared => Some(newcomer(options, fleet).await?),
    };
    let row = Row {
        scene: "the origin fails".to_owned(),
        calls: fleet.calls() - before,
        ideal: None,
        tally: load.stop().await?,
        took: begun.elapsed(),
        bars: Vec::new(),
    };
    fleet.origin.script(Vec::new());
    let mut rows = vec![row.all_answered()];
    rows.extend(newcomer);
    Ok(rows)
}

async fn newcomer(options: &Options, fleet: &mut Fleet) -> Outcome<Row> {
    let begun = Instant::now();
    fleet.grow().await?;
    let sockets = fleet.sockets.last().ok_or("a gateway was started")?;
    let tally = load::gang(
        slice::from_ref(sockets),
        &fleet.images,
        options.connections,
        Duration::ZERO,
    );
    let row = Row {
        scene: "a gateway that starts meanwhile".to_owned(),
        calls: 0,
        ideal: None,
        tally: tally.await?,
        took: begun.elapsed(),
        bars: Vec::new(),
    };
    Ok(row.all_answered())
}

fn failure() -> FaultKind {
    FaultKind::Status {
        status: StatusCode::SERVICE_UNAVAILABLE,
        code: Some("ServiceUnavailable".to_owned()),
        message: None,
        headers: HeaderMap::new(),
        access_denied_detail: false,
    }
}
