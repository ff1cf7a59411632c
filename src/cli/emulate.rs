//! `emulate`: the emulated origin alone, for tests of clients and for rehearsals of an outage.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use clap::Args;
use secrecy::SecretString;
use serde_json::json;

use super::serve::{StopSignal, write_whole};
use super::{block_on, print_out};
use crate::app::raise_file_limit;
use crate::emulator::{Emulator, Fault, Script, Settings, Store};
use crate::observability::logging;
use crate::units::HumanDuration;

#[derive(Debug, Args)]
pub(super) struct Emulate {
    /// IP address and port to listen on; port 0 takes a free one.
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:9100")]
    listen: SocketAddr,
    /// Number of images to generate.
    #[arg(long, value_name = "N", default_value_t = 200)]
    images: usize,
    /// Access key id that it accepts; any other is refused.
    #[arg(long, value_name = "ID", default_value = "emulator-key")]
    access_key_id: String,
    /// File with the key's secret [default secret: emulator-secret].
    #[arg(long, value_name = "FILE")]
    access_key_secret_file: Option<PathBuf>,
    /// File with the security token that requests must carry [default: none].
    #[arg(long, value_name = "FILE")]
    security_token_file: Option<PathBuf>,
    /// Delay of each response, such as 40ms.
    #[arg(long, value_name = "DURATION", default_value = "0s")]
    latency: HumanDuration,
    /// Requests of an operation within a second beyond which it throttles [default: no limit].
    #[arg(long, value_name = "N")]
    quota: Option<u32>,
    /// File with faults to inject, in TOML; POST /emulator/faults changes them.
    #[arg(long, value_name = "FILE")]
    faults: Option<PathBuf>,
    /// File to write the bound address to, as JSON.
    #[arg(long, value_name = "FILE")]
    ports_file: Option<PathBuf>,
}

impl Emulate {
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        let _log = logging::start(&logging::Config::default()).map_err(anyhow::Error::msg)?;
        let settings = self.settings()?;
        raise_file_limit();
        block_on(self.emulate(settings))?
    }

    fn settings(&self) -> anyhow::Result<Settings> {
        let secret = |path: &Option<PathBuf>| {
            path.as_ref()
                .map(|path| read(path).map(|text| SecretString::from(text.trim())))
                .transpose()
        };
        Ok(Settings {
            listen: self.listen,
            access_key_id: self.access_key_id.clone(),
            access_key_secret: secret(&self.access_key_secret_file)?
                .unwrap_or_else(|| Settings::default().access_key_secret),
            security_token: secret(&self.security_token_file)?,
            images: self.images,
            latency: self.latency.0,
            faults: self.faults()?,
            quota_per_second: self.quota,
        })
    }

    fn faults(&self) -> anyhow::Result<Vec<Fault>> {
        let Some(path) = &self.faults else {
            return Ok(Vec::new());
        };
        Script::parse_toml(&read(path)?).with_context(|| format!("--faults {}", path.display()))
    }

    async fn emulate(&self, settings: Settings) -> anyhow::Result<ExitCode> {
        let mut stop = StopSignal::listen()?;
        let emulator = Emulator::start(settings)
            .await
            .with_context(|| format!("cannot listen on {}", self.listen))?;
        let address = emulator.address();
        if let Some(path) = &self.ports_file {
            let ports = json!({ "listen": address.to_string() });
            write_whole(path, &ports.to_string())
                .with_context(|| format!("cannot write {}", path.display()))?;
        }
        print_out(&format!(
            "The origin emulator listens on http://{address} with {} images, such as {}.\n\
             It verifies the signature of every request by {}. Try:\n\n  \
             curl -s http://{address}/emulator/counts\n  curl -s 'http://{address}/emulator/images?limit=5'\n",
            self.images,
            Store::id(0),
            self.access_key_id,
        ));
        stop.wait().await;
        emulator.shutdown().await;
        Ok(ExitCode::SUCCESS)
    }
}

fn read(path: &PathBuf) -> anyhow::Result<String> {
    std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))
}
