//! Rows of the bar about the account's quota: one gateway and a fleet, each without and with a catalogue.
//!
//! Every row starts gateways, an origin and, for a fleet, the shared cache's server of its own, so that it begins
//! cold and with a whole quota.

mod catalogue;
mod crowd;
mod row;
mod rows;

use super::Outcome;
use super::fleet::{Fleet, Tier};
use super::options::Options;
use super::report::Report;
use catalogue::Catalogue;
use row::Row;

/// Gateways of a row.
#[derive(Debug, Clone, Copy)]
struct Setup {
    tier: Tier,
    catalogue: Catalogue,
}

/// Gateways that have started, in front of an origin with a whole quota.
struct Stage {
    fleet: Fleet,
    setup: Setup,
}

/// Requests that reached the origin.
#[derive(Debug, Clone, Copy)]
struct Calls {
    /// All of them.
    made: u64,
    throttled: u64,
}

pub(crate) async fn play(options: &Options) -> Outcome<Report<Row>> {
    let mut report = Report::default();
    let tiers = [Tier::Alone, Tier::Shared];
    let tiers = tiers
        .into_iter()
        .filter(|tier| *tier == Tier::Alone || !options.alone);
    for tier in tiers {
        for catalogue in Catalogue::BOTH {
            let setup = Setup { tier, catalogue };
            let images = rows::images(options, setup).await?;
            if tier == Tier::Shared {
                let (gateways, shared) = (&images.gateways, &images.shared);
                report.notes.push(format!(
                    "Operations of the shared cache, {gateways}, images: {shared}."
                ));
            }
            report.rows.push(images);
            report.rows.push(rows::resolve(options, setup).await?);
            report.rows.push(rows::lists(options, setup).await?);
        }
    }
    Ok(report)
}

/// Settings that all rows have in common, as a sentence or two.
pub(crate) fn describe(options: &Options) -> String {
    let processors = std::thread::available_parallelism().map_or(0, usize::from);
    let mut parts = vec![format!(
        "The origin answers after {} and lets {} requests a second of each operation pass. Gateways have their \
         default settings.",
        options.latency,
        options.quota(),
    )];
    parts.push(format!(
        "Those with a catalogue have `{}`.",
        catalogue::SETTINGS.join("`, `")
    ));
    if !options.alone {
        parts.push(format!(
            "A fleet is {} gateways in one process, with {} and `{}`.",
            options.replicas(),
            options.kind().name(),
            options.chosen(Tier::Shared).join("`, `"),
        ));
    }
    parts.push(format!(
        "Clients, gateways, origin and shared cache have {processors} processors between them."
    ));
    parts.join(" ")
}

impl Setup {
    /// Number of gateways.
    fn gateways(self, options: &Options) -> usize {
        match self.tier {
            Tier::Alone => 1,
            Tier::Shared => options.replicas(),
        }
    }

    fn name(self, options: &Options) -> String {
        let catalogue = match self.catalogue {
            Catalogue::Off => "",
            Catalogue::On => ", catalogue",
        };
        match self.tier {
            Tier::Alone => format!("one gateway{catalogue}"),
            Tier::Shared => format!("{} gateways{catalogue}", options.replicas()),
        }
    }
}

impl Stage {
    /// Starts the gateways in front of so many images. With a catalogue, returns once they answer from it.
    async fn start(options: &Options, setup: Setup, images: usize) -> Outcome<Self> {
        let options = Options {
            replicas: Some(setup.gateways(options)),
            images: Some(images),
            ..options.clone()
        };
        let settings = setup.catalogue.settings();
        let fleet = Fleet::start(&options, setup.tier, &settings).await?;
        if setup.catalogue == Catalogue::On {
            catalogue::wait_until_it_answers(&fleet).await?;
        }
        Ok(Self { fleet, setup })
    }

    /// Requests of all operations since the gateways started.
    fn calls(&self) -> Calls {
        let counts = self.fleet.origin.counts();
        let throttled = counts.codes.get("Throttling.User");
        Calls {
            made: counts.operations.values().sum(),
            throttled: throttled.copied().unwrap_or(0),
        }
    }
}

impl Calls {
    /// Requests after an earlier count.
    fn since(self, before: Self) -> Self {
        Self {
            made: self.made - before.made,
            throttled: self.throttled - before.throttled,
        }
    }
}
