//! The commands.

mod check;
mod client;
mod demo;
mod emulate;
mod resolve;
mod serve;
mod ttl;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};
use http::Method;
use serde_json::{Value, json};

use crate::admin::client::Ask;
use crate::config::{self, Loaded, Problems, SettingsSources};
use crate::credentials::Environment;
use crate::observability::logging::error_chain;
use crate::observability::metrics::Metrics;
use crate::server::Address;

/// A caching, signing reverse proxy in front of Alibaba Cloud PAI's AIWorkSpace image API.
#[derive(Debug, Parser)]
#[command(name = "pai-image-gateway", version = VERSION, arg_required_else_help = true)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

/// Version and commit.
const VERSION: &str = concat!(
    env!("CARGO_PKG_VERSION"),
    " (",
    env!("PAI_GATEWAY_COMMIT"),
    ")"
);

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the gateway.
    Serve(serve::Serve),
    /// Run gateway and emulator together, put load on them and show what happened. Needs nothing else.
    Demo(demo::Demo),
    /// Run the origin emulator alone: it verifies signatures and answers like AIWorkSpace.
    Emulate(emulate::Emulate),
    /// Check settings and credential, every problem at once.
    Check(check::Check),
    /// Print the effective settings and where each came from.
    Config(ConfigArgs),
    /// Explain how long an image with these times would be kept.
    Ttl(ttl::Ttl),
    /// Remove answers from a running gateway's memory.
    Purge(Purge),
    /// Ask a running gateway for many images in one go, which it then holds: exit code 0 if all are there.
    Resolve(resolve::Resolve),
    /// Manage who is let in where auth.mode is "required".
    #[command(subcommand)]
    Client(client::ClientCommand),
    /// Print a generated page of the documentation.
    #[command(subcommand, hide = true)]
    Docs(Docs),
    /// Ask a running gateway whether it is ready: exit code 0 if so.
    Healthcheck(Healthcheck),
}

/// A generated page of the documentation.
#[derive(Debug, Subcommand)]
enum Docs {
    /// docs/metrics.md.
    Metrics,
    /// docs/configuration.md.
    Settings,
    /// The JSON schema of the settings.
    Schema,
}

impl Docs {
    fn text(&self) -> String {
        match self {
            Self::Metrics => Metrics::page(),
            Self::Settings => config::page(),
            Self::Schema => format!("{:#}\n", config::schema()),
        }
    }
}

/// Where settings come from, above the defaults and the environment.
#[derive(Debug, Clone, Default, Args)]
struct ConfigArgs {
    /// Settings file, in TOML.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// One setting, over file and environment; may be repeated.
    #[arg(long = "set", value_name = "SECTION.KEY=VALUE")]
    set: Vec<String>,
}

/// Which running gateway to ask.
#[derive(Debug, Args)]
struct RunningGateway {
    /// Its admin listener: an IP address and port, or unix:PATH; else as its settings say.
    #[arg(long, value_name = "ADDR")]
    admin: Option<String>,
    #[command(flatten)]
    config: ConfigArgs,
}

#[derive(Debug, Args)]
struct Healthcheck {
    #[command(flatten)]
    running: RunningGateway,
}

#[derive(Debug, Args)]
struct Purge {
    #[command(flatten)]
    scope: PurgeSelection,
    /// Keep images for when the origin fails.
    #[arg(long)]
    soft: bool,
    #[command(flatten)]
    running: RunningGateway,
}

#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
struct PurgeSelection {
    /// One image, by id.
    #[arg(long, value_name = "ID")]
    image: Option<String>,
    /// Every image of a workspace.
    #[arg(long, value_name = "ID")]
    workspace: Option<String>,
    /// Everything.
    #[arg(long)]
    all: bool,
}

/// Settings or arguments are wrong.
const EXIT_USAGE: u8 = 2;

impl Cli {
    /// Carries the command out. Errors have been told by then.
    #[must_use]
    pub fn run(self) -> ExitCode {
        let environment: Environment = std::env::vars().collect();
        let done = match self.command {
            Command::Serve(serve) => serve.run(&environment),
            Command::Demo(demo) => demo.run(),
            Command::Emulate(emulate) => emulate.run(),
            Command::Check(check) => check.run(&environment),
            Command::Config(args) => args.load(&environment).map(|loaded| say(&loaded.to_toml())),
            Command::Ttl(ttl) => ttl.run(&environment),
            Command::Purge(purge) => purge.run(&environment),
            Command::Resolve(resolve) => Ok(resolve.run(&environment)),
            Command::Client(client) => client.run(&environment),
            Command::Docs(page) => Ok(say(&page.text())),
            Command::Healthcheck(healthcheck) => healthcheck.run(&environment),
        };
        match done {
            Ok(code) => code,
            Err(error) => {
                complain(&error_chain(&*error));
                let usage = error.is::<Problems>() || error.is::<clap::Error>();
                if usage {
                    ExitCode::from(EXIT_USAGE)
                } else {
                    ExitCode::FAILURE
                }
            }
        }
    }
}

impl ConfigArgs {
    fn load(&self, environment: &Environment) -> anyhow::Result<Loaded> {
        let sources = SettingsSources {
            file: self.config.clone(),
            variables: environment.clone(),
            flags: self.set.clone(),
        };
        Ok(sources.load()?)
    }
}

impl RunningGateway {
    /// Asks the gateway that was meant.
    fn ask(
        self,
        mut ask: Ask<'_>,
        environment: &Environment,
    ) -> anyhow::Result<(http::StatusCode, String)> {
        let admin = match (&self.admin, self.config.load(environment)) {
            (None, Ok(loaded)) => loaded.settings.admin,
            (None, Err(error)) => return Err(error),
            (Some(_), loaded) => loaded
                .map(|loaded| loaded.settings.admin)
                .unwrap_or_default(),
        };
        let address = match self.admin.as_deref() {
            Some(text) => Address::parse(text, text.strip_prefix("unix:"), 0),
            None => admin.listener(),
        };
        let address = address.ok_or_else(|| {
            anyhow::anyhow!("--admin: write an IP address and a port, or unix:PATH")
        })?;
        ask.token = admin.token()?;
        block_on(ask.send(&address))?
    }
}

impl Healthcheck {
    fn run(self, environment: &Environment) -> anyhow::Result<ExitCode> {
        let ask = Ask {
            method: Method::GET,
            path: "/readyz",
            body: None,
            token: None,
        };
        let (status, text) = self.running.ask(ask, environment)?;
        anyhow::ensure!(status.is_success(), "not ready: {}", text.trim());
        Ok(say("ready\n"))
    }
}

impl Purge {
    fn run(self, environment: &Environment) -> anyhow::Result<ExitCode> {
        let PurgeSelection {
            image,
            workspace,
            all,
        } = self.scope;
        let mut order = match (image, workspace, all) {
            (Some(image), ..) => json!({ "image": image }),
            (_, Some(workspace), _) => json!({ "workspace": workspace }),
            _ => json!({ "all": true }),
        };
        order["soft"] = self.soft.into();
        let ask = Ask {
            method: Method::POST,
            path: "/purge",
            body: Some(order.to_string()),
            token: None,
        };
        let (status, text) = self.running.ask(ask, environment)?;
        let answer: Value = serde_json::from_str(&text).unwrap_or_default();
        anyhow::ensure!(
            status.is_success(),
            "not purged: {}",
            answer["error"].as_str().unwrap_or(text.trim())
        );
        Ok(say(&format!(
            "purged {} cached answers\n",
            answer["purged"]
        )))
    }
}

/// Runs a future on a runtime of its own.
fn block_on<T>(future: impl Future<Output = T>) -> std::io::Result<T> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    let done = runtime.block_on(future);
    // What still runs has no owner that waits for it any more.
    runtime.shutdown_timeout(std::time::Duration::from_secs(1));
    Ok(done)
}

/// Writes to standard output. A reader that has gone needs nothing more.
fn say(text: &str) -> ExitCode {
    use std::io::Write as _;
    match std::io::stdout().write_all(text.as_bytes()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}

/// Writes to standard error; there is nowhere to say that that failed.
fn complain(text: &str) {
    use std::io::Write as _;
    drop(writeln!(std::io::stderr(), "error: {}", text.trim_end()));
}
