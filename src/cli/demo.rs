//! `demo`: a gateway in front of an emulated origin on one machine, and a workload that shows the benefit; then two
//! gateways at the account's quota, without and with a catalogue. Nothing needs to be prepared.

mod load_client;
mod quota;
mod report;
mod workload;

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::time::Duration;

use clap::Args;

use super::serve::StopSignal;
use super::{Exit, block_on, may_colour, print_out};
use crate::app::{App, Process, raise_file_limit};
use crate::config::{self, Layers, Loaded};
use crate::emulator::{self, Emulator};
use crate::environment::Environment;
use crate::observability::logging;
use crate::server::Address;
use workload::Workload;

/// Run a gateway in front of an emulated origin, send it requests and print the results.
///
/// It needs no account, key or settings. The two then stay up to be tried by hand, until Ctrl-C.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  pai-image-gateway demo
  pai-image-gateway demo --once")]
pub(super) struct Demo {
    /// Exit when the workload is done, instead of staying up to be tried by hand.
    #[arg(long)]
    once: bool,
}

/// Latency of the emulated origin, about that of the real one.
const ORIGIN_LATENCY: Duration = Duration::from_millis(40);
/// Key of the emulated origin, which protects nothing.
const KEY_ID: &str = "demo-central-key";
const KEY_SECRET: &str = "demo-central-secret";
/// Settings of the gateway that stays up. On a slow machine the gang start takes longer than the deadline that SDKs
/// need.
const OWN_SETTINGS: [&str; 2] = ["api.writes=true", "api.wait=30s"];

impl Demo {
    pub(super) fn run(self) -> anyhow::Result<Exit> {
        let log = logging::Config {
            level: "warn".to_owned(),
            ..logging::Config::default()
        };
        let _log = logging::start(&log, may_colour()).map_err(anyhow::Error::msg)?;
        raise_file_limit();
        block_on(self.demonstrate())?
    }

    async fn demonstrate(self) -> anyhow::Result<Exit> {
        let mut stop = StopSignal::listen()?;
        let emulator = Emulator::start(origin(usual(9100))).await?;
        let ports = [usual(8080), usual(9901)];
        let settings = settings(emulator.address(), ports, &OWN_SETTINGS)?;
        let app = App::start(&settings, &environment(), Process::default()).await?;
        let Address::Tcp(gateway) = app.data else {
            anyhow::bail!("the demo's gateway listens on TCP")
        };
        print_out(&format!(
            "An origin emulator listens on http://{}, the gateway before it on http://{gateway}.\n\n",
            emulator.address()
        ));
        let workload = Workload::new(gateway, &emulator);
        let acts = async {
            let phases = workload.run().await?;
            print_out(&report::table(&phases, &app.metrics, &emulator.counts()));
            print_out(&report::quota_table(&quota::compare().await?));
            anyhow::Ok(())
        };
        tokio::select! {
            done = acts => done?,
            () = stop.wait() => return Ok(Exit::Success),
        }
        if !self.once {
            print_out(&report::invitation(gateway, &app.admin, emulator.address()));
            stop.wait().await;
        }
        app.stop().await;
        emulator.shutdown().await;
        Ok(Exit::Success)
    }
}

/// Returns an emulated origin that listens here.
pub(super) fn origin(listen: SocketAddr) -> emulator::Settings {
    emulator::Settings {
        listen,
        access_key_id: KEY_ID.to_owned(),
        access_key_secret: KEY_SECRET.into(),
        latency: ORIGIN_LATENCY,
        ..emulator::Settings::default()
    }
}

/// Returns the default settings, except for the origin, the listeners, and the gateway's own settings.
fn settings(
    origin: SocketAddr,
    [data, admin]: [SocketAddr; 2],
    own: &[&str],
) -> anyhow::Result<Loaded> {
    let flags = [
        format!("listen.address={data}"),
        format!("admin.address={admin}"),
        format!("upstream.endpoint=http://{origin}"),
        "upstream.allow_http=true".to_owned(),
        "credentials.source=env".to_owned(),
        "shutdown.lame_duck=0s".to_owned(),
        "shutdown.drain=2s".to_owned(),
    ];
    let flags = flags.iter().map(String::as_str).chain(own.iter().copied());
    Ok(config::load(&Layers::new().flags(flags))?)
}

/// Returns an environment with the key of the emulated origin, and nothing else.
pub(super) fn environment() -> Environment {
    [
        ("ALIBABA_CLOUD_ACCESS_KEY_ID", KEY_ID),
        ("ALIBABA_CLOUD_ACCESS_KEY_SECRET", KEY_SECRET),
    ]
    .map(|(name, value)| (name.to_owned(), value.to_owned()))
    .into()
}

/// Returns the usual port where it is free, else port 0 for any.
fn usual(port: u16) -> SocketAddr {
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    if TcpListener::bind(address).is_ok() {
        address
    } else {
        any_port()
    }
}

/// Returns a loopback address whose port is chosen when it is bound.
pub(super) fn any_port() -> SocketAddr {
    SocketAddr::from((Ipv4Addr::LOCALHOST, 0))
}
