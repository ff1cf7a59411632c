//! The shared cache fails under load, and restarts empty.

use std::time::Instant;

use tokio::time::sleep;

use crate::Outcome;
use crate::fleet::Fleet;
use crate::load::Sweeps;
use crate::options::Options;
use crate::report::Row;

pub(super) async fn play(options: &Options, fleet: &mut Fleet) -> Outcome<Row> {
    let (ttl, before, begun) = (options.ttl().0, fleet.calls(), Instant::now());
    let third = ttl * options.ttls / 3;
    let load = Sweeps::start(&fleet.sockets, &fleet.images, ttl / 2);
    let redis = fleet.redis.as_mut().ok_or("there is no shared tier")?;
    sleep(third).await;
    redis.kill();
    sleep(third).await;
    redis.restart().await;
    sleep(third).await;
    let tally = load.stop().await?;
    let row = Row {
        scene: "the shared cache is killed, and restarts empty".to_owned(),
        calls: fleet.calls() - before,
        ideal: None,
        tally,
        took: begun.elapsed(),
        bars: Vec::new(),
    };
    Ok(row.all_answered())
}
