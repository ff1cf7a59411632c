//! Command-line options.

use clap::{Parser, ValueEnum};
use pai_image_gateway::shared_cache::Config;
use pai_image_gateway::units::HumanDuration;

use crate::fleet::Tier;
use crate::support::redis::Kind;

/// A fleet of gateways before one origin: what reaches it, and what clients see.
#[derive(Debug, Clone, Parser)]
#[command(name = "benches/fleet")]
pub(crate) struct Options {
    /// Number of gateways [default: 200, 10 on hosts, and 20 in benches/quota].
    #[arg(long, value_name = "N")]
    pub(crate) replicas: Option<usize>,
    /// How many images [default: 200].
    #[arg(long, value_name = "N")]
    pub(crate) images: Option<usize>,
    /// Connections to each gateway in the gang start.
    #[arg(long, value_name = "N", default_value_t = 8)]
    pub(crate) connections: usize,
    /// How long the origin takes.
    #[arg(long, value_name = "DURATION", default_value = "40ms")]
    pub(crate) latency: HumanDuration,
    /// Requests a second that the account may make [default: 5 for each two images, and 50 in benches/quota].
    #[arg(long, value_name = "N")]
    pub(crate) quota: Option<u32>,
    /// An image's ttl where it is to expire [default: 10s].
    #[arg(long, value_name = "DURATION")]
    pub(crate) ttl: Option<HumanDuration>,
    /// How long a scene under steady load takes, in ttls.
    #[arg(long, value_name = "N", default_value_t = 5)]
    pub(crate) ttls: u32,
    /// The shared tier's server.
    #[arg(long, value_enum, default_value_t = Server::Redis)]
    pub(crate) server: Server,
    /// shared_cache.timeout, since hundreds of gateways, their clients and the server share what they
    /// would have for themselves; the lease is as long as that asks for [default: 2s, and 300ms for few].
    #[arg(long, value_name = "DURATION")]
    pub(crate) timeout: Option<HumanDuration>,
    /// Without the shared tier, each gateway by itself.
    #[arg(long)]
    pub(crate) alone: bool,
    /// One more setting of every gateway; may be repeated.
    #[arg(long = "set", value_name = "SECTION.KEY=VALUE")]
    pub(crate) set: Vec<String>,
    /// Ten gateways, twenty images, short ttls.
    #[arg(long)]
    pub(crate) smoke: bool,
    /// Gateways as processes on hosts of their own: network namespaces, which takes root.
    #[arg(long)]
    pub(crate) hosts: bool,
    /// One gateway and a fleet at the account's quota, each with and without a catalogue: benches/quota.
    #[arg(long, hide = true)]
    pub(crate) account: bool,
    /// What cargo says.
    #[arg(long, hide = true)]
    pub(crate) bench: bool,
    /// The namespaces that this runs in one of.
    #[arg(long, hide = true)]
    pub(crate) inside: Option<String>,
}

/// Which program the shared tier is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Server {
    Redis,
    Valkey,
}

impl Options {
    pub(crate) fn replicas(&self) -> usize {
        let usual = match (self.account, self.smoke) {
            (true, true) => 3,
            (true, false) => 20,
            (false, is_small) if is_small || self.hosts => 10,
            (false, _) => 200,
        };
        self.replicas.unwrap_or(usual)
    }

    pub(crate) fn images(&self) -> usize {
        let usual = if self.smoke && !self.account { 20 } else { 200 };
        self.images.unwrap_or(usual)
    }

    pub(crate) fn ttl(&self) -> HumanDuration {
        let usual = HumanDuration::secs(if self.smoke { 1 } else { 10 });
        self.ttl.unwrap_or(usual)
    }

    pub(crate) fn quota(&self) -> u32 {
        let usual = if self.account {
            DOCUMENTED_QUOTA
        } else {
            self.images() * 5 / 2
        };
        self.quota
            .unwrap_or_else(|| u32::try_from(usual).unwrap_or(u32::MAX))
    }

    fn timeout(&self) -> HumanDuration {
        let is_small = self.smoke || self.hosts;
        let usual = HumanDuration::millis(if is_small { 300 } else { 2_000 });
        self.timeout.unwrap_or(usual)
    }

    pub(crate) fn kind(&self) -> Kind {
        match self.server {
            Server::Redis => Kind::Redis,
            Server::Valkey => Kind::Valkey,
        }
    }

    /// The settings of every gateway beside its addresses.
    pub(crate) fn settings(&self, tier: Tier) -> Vec<String> {
        let fixed = [
            "upstream.allow_http=true",
            "credentials.source=env",
            "shutdown.lame_duck=0s",
            "shutdown.drain=1s",
        ];
        // Those scenes are about the tier, and would wait for the pace instead.
        let unpaced = "upstream.calls_per_second.get_image=0";
        let unpaced = (!self.account).then_some(unpaced);
        let fixed = fixed.into_iter().chain(unpaced).map(str::to_owned);
        fixed.chain(self.chosen(tier)).collect()
    }

    /// Those of them that are not there to make it run at all.
    pub(crate) fn chosen(&self, tier: Tier) -> Vec<String> {
        let timeout = self.timeout();
        let lease = HumanDuration((timeout.0 * 5).max(Config::default().lease.0));
        let patience = match tier {
            Tier::Alone => Vec::new(),
            Tier::Shared => vec![
                format!("shared_cache.timeout={timeout}"),
                format!("shared_cache.lease={lease}"),
            ],
        };
        patience
            .into_iter()
            .chain(self.set.iter().cloned())
            .collect()
    }

    /// Those that make every image expire after the same short time.
    pub(crate) fn expiring(&self) -> Vec<String> {
        let ttl = self.ttl();
        vec![
            format!("freshness.min={ttl}"),
            format!("freshness.max={ttl}"),
            "freshness.jitter=0".to_owned(),
        ]
    }

    /// What it was run with, as a sentence or two.
    pub(crate) fn describe(&self) -> String {
        let processors = std::thread::available_parallelism().map_or(0, usize::from);
        let tier = if self.alone {
            Tier::Alone
        } else {
            Tier::Shared
        };
        let set = match self.chosen(tier).as_slice() {
            [] => "its default settings".to_owned(),
            set => format!("`{}`", set.join("`, `")),
        };
        let (server, expiry) = match (self.alone, self.hosts) {
            (true, _) => ("no shared tier", String::new()),
            (false, true) => (self.kind().name(), String::new()),
            (false, false) => {
                let expiry = format!(" Images that expire do so after {}.", self.ttl());
                (self.kind().name(), expiry)
            }
        };
        let place = match self.hosts {
            true => "each a process on one of two hosts",
            false => "all in one process",
        };
        format!(
            "{} gateways, {place}; {} images; {server}. The origin answers after {} and lets {} requests a \
             second pass. Every gateway runs with {set}.{expiry} Clients, gateways, origin and shared tier \
             have {processors} processors between them.",
            self.replicas(),
            self.images(),
            self.latency,
            self.quota(),
        )
    }
}

/// Calls a second of one read operation that the vendor grants an account.
const DOCUMENTED_QUOTA: usize = 50;
