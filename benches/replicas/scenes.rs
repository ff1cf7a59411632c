//! The scenes, in order.

mod expiry;
mod gang;
mod loss;
mod outage;
pub(crate) mod purge;

use super::Outcome;
use super::fleet::{Fleet, Tier};
use super::options::Options;
use super::report::{Report, Row};
use super::server::{self, Usage};

/// Every scene.
pub(crate) async fn play(options: &Options) -> Outcome<Report<Row>> {
    let mut report = Report::default();
    // By itself each asks for everything, and the quota makes them wait: too long to be a smoke test.
    if options.alone || !options.smoke {
        let alone = Fleet::start(options, Tier::Alone, &[]).await?;
        report
            .rows
            .push(gang::play(options, &alone, Tier::Alone).await?);
        alone.stop().await;
    }
    if options.alone {
        expiring(options, Tier::Alone, &mut report).await?;
        return Ok(report);
    }
    let shared = Fleet::start(options, Tier::Shared, &[]).await?;
    report
        .rows
        .push(gang::play(options, &shared, Tier::Shared).await?);
    let asked = shared.asked();
    report
        .notes
        .push(format!("Operations in the gang start: {asked}."));
    report.rows.push(purge::play(&shared).await?);
    if let Some(redis) = &shared.redis {
        report.notes.push(server::held(redis).await?);
    }
    shared.stop().await;
    expiring(options, Tier::Shared, &mut report).await?;
    Ok(report)
}

/// The scenes in which images expire again and again, with one fleet.
async fn expiring(options: &Options, tier: Tier, report: &mut Report<Row>) -> Outcome<()> {
    let mut fleet = Fleet::start(options, tier, &options.expiring()).await?;
    gang::warm(options, &fleet).await?;
    let before = match &fleet.redis {
        Some(redis) => Some(Usage::read(redis).await?),
        None => None,
    };
    let row = expiry::play(options, &fleet, tier).await?;
    report.rows.push(row);
    if let Some((redis, before)) = fleet.redis.as_ref().zip(before) {
        let used = before.since(redis, options.replicas()).await?;
        report.notes.push(used);
    }
    if tier == Tier::Shared {
        report.rows.push(loss::play(options, &mut fleet).await?);
    }
    report
        .rows
        .extend(outage::play(options, &mut fleet, tier).await?);
    fleet.stop().await;
    Ok(())
}
