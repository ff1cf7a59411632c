//! `emulate`: the emulated origin alone, for tests of clients and for rehearsals of an outage.

use std::net::SocketAddr;
use std::path::PathBuf;

use anyhow::Context;
use clap::Args;
use secrecy::SecretString;
use serde_json::json;

use super::exit::ArgumentError;
use super::serve::{StopSignal, write_whole};
use super::{Exit, block_on, may_colour, print_out};
use crate::app::raise_file_limit;
use crate::emulator::{Emulator, Fault, Fixture, Script, Settings, Store};
use crate::observability::logging;
use crate::units::HumanDuration;

/// Run the emulated origin alone: it verifies signatures and answers like AIWorkSpace.
///
/// It prints the `serve` line of a gateway in front of it. docs/emulator.md lists its control routes and faults.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  pai-image-gateway emulate --listen 127.0.0.1:9100 --images 1000
  pai-image-gateway emulate --latency 40ms --quota 50 --faults faults.toml
  pai-image-gateway emulate --fixtures answers")]
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
    /// Folder with answers that `probe --record` wrote, which come instead of its own.
    #[arg(long, value_name = "DIR")]
    fixtures: Option<PathBuf>,
    /// File to write the bound address to, as JSON.
    #[arg(long, value_name = "FILE")]
    ports_file: Option<PathBuf>,
}

/// Secret of the key where no file names one. It protects nothing.
const DEFAULT_SECRET: &str = "emulator-secret";

impl Emulate {
    pub(super) fn run(self) -> anyhow::Result<Exit> {
        let _log = logging::start(&logging::Config::default(), may_colour())
            .map_err(anyhow::Error::msg)?;
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
                .unwrap_or_else(|| DEFAULT_SECRET.into()),
            security_token: secret(&self.security_token_file)?,
            images: self.images,
            latency: self.latency.0,
            faults: self.faults()?,
            quota_per_second: self.quota,
            fixtures: self.fixtures()?,
        })
    }

    /// Reads the recorded answers, in the order of their files' names.
    fn fixtures(&self) -> anyhow::Result<Vec<Fixture>> {
        let Some(folder) = &self.fixtures else {
            return Ok(Vec::new());
        };
        let mistake = |path: &PathBuf, problem: &str| {
            ArgumentError(format!(
                "--fixtures {}: {problem}; name a folder that `probe --record` wrote",
                path.display()
            ))
        };
        let entries = std::fs::read_dir(folder);
        let entries = entries.map_err(|error| mistake(folder, &error.to_string()))?;
        let paths = entries.map(|entry| entry.map(|entry| entry.path()));
        let mut paths: Vec<_> = paths.collect::<Result<_, _>>()?;
        paths.sort();
        let parsed = paths.iter().map(|path| {
            Fixture::parse(&read(path)?).map_err(|problem| mistake(path, &problem).into())
        });
        parsed.collect()
    }

    fn faults(&self) -> anyhow::Result<Vec<Fault>> {
        let Some(path) = &self.faults else {
            return Ok(Vec::new());
        };
        Script::parse_toml(&read(path)?).map_err(|error| {
            ArgumentError(format!(
                "--faults {}: {error}; docs/emulator.md lists the kinds of faults and their fields",
                path.display()
            ))
            .into()
        })
    }

    async fn emulate(&self, settings: Settings) -> anyhow::Result<Exit> {
        let mut stop = StopSignal::listen()?;
        let emulator = Emulator::start(settings).await.with_context(|| {
            format!(
                "cannot listen on {}: name another address by --listen",
                self.listen
            )
        })?;
        let address = emulator.address();
        if let Some(path) = &self.ports_file {
            let ports = json!({ "listen": address.to_string() });
            write_whole(path, &ports.to_string())
                .with_context(|| format!("cannot write {}", path.display()))?;
        }
        print_out(&self.invitation(address));
        stop.wait().await;
        emulator.shutdown().await;
        Ok(Exit::Success)
    }
}

impl Emulate {
    /// Describes the running emulator, with the commands of a gateway in front of it.
    fn invitation(&self, address: SocketAddr) -> String {
        let image = Store::id(0);
        let key = &self.access_key_id;
        format!(
            "The origin emulator listens on http://{address} with {} images, such as {image}.\n\
             It verifies the signature of every request by {key}. A gateway in front of it, and an image through that:\n\n  \
             {}\n  curl -i http://127.0.0.1:8080/api/v1/images/{image}\n\n\
             Its counts, its images, and a failure for each further request (docs/emulator.md):\n\n  \
             curl -s http://{address}/emulator/counts\n  \
             curl -s 'http://{address}/emulator/images?limit=5'\n  \
             curl -s http://{address}/emulator/faults --data '[{{\"kind\":\"status\",\"status\":503}}]'\n",
            self.images,
            self.serve_line(address),
        )
    }

    /// Returns the command of a gateway that signs by this emulator's key. Secrets of the operator stay in their files.
    fn serve_line(&self, address: SocketAddr) -> String {
        let key = &self.access_key_id;
        let origin =
            format!("--set upstream.endpoint=http://{address} --set upstream.allow_http=true");
        let Some(secret) = &self.access_key_secret_file else {
            return format!(
                "ALIBABA_CLOUD_ACCESS_KEY_ID={key} ALIBABA_CLOUD_ACCESS_KEY_SECRET={DEFAULT_SECRET} \\\n    \
                 pai-image-gateway serve {origin} --set credentials.source=env"
            );
        };
        let token = self
            .security_token_file
            .as_ref()
            .map_or(String::new(), |token| {
                format!(" --set credentials.security_token_file={}", token.display())
            });
        format!(
            "pai-image-gateway serve {origin} --set credentials.source=static \\\n    \
             --set credentials.access_key_id={key} --set credentials.access_key_secret_file={}{token}",
            secret.display()
        )
    }
}

fn read(path: &PathBuf) -> anyhow::Result<String> {
    std::fs::read_to_string(path).map_err(|error| {
        let problem = format!(
            "cannot read {}: {error}; name a file that this user may read",
            path.display()
        );
        ArgumentError(problem).into()
    })
}
