//! Command line of the gateway: one module for each command, and what they share.

mod check;
mod client;
#[cfg(feature = "emulator")]
mod demo;
#[cfg(feature = "emulator")]
mod emulate;
#[cfg(not(feature = "emulator"))]
mod no_emulator;
mod resolve;
mod serve;
mod ttl;

use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};
use http::Method;
use serde_json::{Value, json};

use crate::admin::client::AdminRequest;
use crate::config::{self, Loaded, Problems, SettingsSources};
use crate::environment::Environment;
use crate::error_chain::error_chain;
use crate::observability::metrics::Metrics;
use crate::server::Address;

/// Caching, signing reverse proxy in front of Alibaba Cloud PAI's AIWorkSpace image API.
#[derive(Debug, Parser)]
#[command(name = "pai-image-gateway", version = VERSION, arg_required_else_help = true)]
#[command(after_help = "Example:\n  pai-image-gateway demo")]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

/// Version and commit, as `--version` prints them.
const VERSION: &str = concat!(
    env!("CARGO_PKG_VERSION"),
    " (",
    env!("PAI_GATEWAY_COMMIT"),
    ")"
);

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the gateway until SIGTERM or SIGINT; SIGHUP reloads its files.
    #[command(after_help = "\
Examples:
  pai-image-gateway serve --config /etc/pai-image-gateway/gateway.toml
  pai-image-gateway serve --set upstream.region=cn-hangzhou --set listen.address=127.0.0.1:8080")]
    Serve(serve::Serve),
    /// Run a gateway in front of an emulated origin, send it requests and print the results.
    ///
    /// It needs no account, key or settings. The two then stay up to be tried by hand, until Ctrl-C.
    #[command(after_help = "\
Examples:
  pai-image-gateway demo
  pai-image-gateway demo --once")]
    #[cfg(feature = "emulator")]
    Demo(demo::Demo),
    /// Run the emulated origin alone: it verifies signatures and answers like AIWorkSpace.
    #[command(after_help = "\
Examples:
  pai-image-gateway emulate --listen 127.0.0.1:9100 --images 1000
  pai-image-gateway emulate --latency 40ms --quota 50 --faults faults.toml")]
    #[cfg(feature = "emulator")]
    Emulate(emulate::Emulate),
    /// Not in this build.
    #[cfg(not(feature = "emulator"))]
    #[command(hide = true, alias = "emulate")]
    Demo(no_emulator::NoEmulator),
    /// Check the settings, the shared cache and the credential; print every problem at once.
    ///
    /// Exit code 0 if all is well, 2 otherwise.
    #[command(after_help = "\
Examples:
  pai-image-gateway check --config gateway.toml
  pai-image-gateway check --config gateway.toml --call image-05cefd0be2exxxx")]
    Check(check::Check),
    /// Print the effective settings as TOML, with the origin of each that is not a default.
    #[command(after_help = "\
Example:
  pai-image-gateway config --config gateway.toml --set freshness.max=30m")]
    Config(ConfigArgs),
    /// Compute how long an image with these times stays fresh, and explain it.
    #[command(after_help = "\
Example:
  pai-image-gateway ttl --modified 2021-01-21T17:12:35.232Z --date 2021-01-22T00:00:00Z")]
    Ttl(ttl::Ttl),
    /// Remove responses from the cache of a running gateway.
    #[command(after_help = "\
Examples:
  pai-image-gateway purge --image image-05cefd0be2exxxx
  pai-image-gateway purge --all --soft --admin 127.0.0.1:9901")]
    Purge(Purge),
    /// Resolve many images in one request to a running gateway, which caches them.
    ///
    /// Exit code 0 if every image was found, 1 if one is missing or failed, 2 if the request could not be made.
    #[command(after_help = "\
Examples:
  pai-image-gateway resolve ids.txt
  pai-image-gateway resolve - --url https://pai-gateway.example --bearer-file token --json < ids.txt")]
    Resolve(resolve::Resolve),
    /// Manage the clients that may use the gateway where auth.mode is "required".
    #[command(subcommand)]
    Client(client::ClientCommand),
    /// Print a generated page of the documentation.
    #[command(subcommand, hide = true)]
    Docs(Docs),
    /// Ask a running gateway whether it is ready. Exit code 0 if it is, 1 otherwise.
    #[command(after_help = "\
Example:
  pai-image-gateway healthcheck --config gateway.toml")]
    Healthcheck(Healthcheck),
}

/// Generated page of the documentation; the CI compares each with the file in the repository.
#[derive(Debug, Subcommand)]
enum Docs {
    /// Print docs/metrics.md.
    Metrics,
    /// Print docs/configuration.md.
    Settings,
    /// Print the JSON schema of the settings.
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

/// Arguments that name settings. They override the environment's, which override the defaults.
#[derive(Debug, Clone, Default, Args)]
struct ConfigArgs {
    /// Settings file, in TOML. Without it, only the environment and --set count.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// One setting, which overrides file and environment; may be repeated.
    #[arg(long = "set", value_name = "SECTION.KEY=VALUE")]
    set: Vec<String>,
}

/// Arguments that select a running gateway by its admin listener.
#[derive(Debug, Args)]
struct RunningGateway {
    /// Admin listener of the gateway: an IP address and port, or unix:PATH [default: as in its settings].
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
    /// Mark the images stale instead of removing them: they still answer when the origin fails.
    #[arg(long)]
    soft: bool,
    #[command(flatten)]
    running: RunningGateway,
}

#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
struct PurgeSelection {
    /// Image to purge, by its id.
    #[arg(long, value_name = "ID")]
    image: Option<String>,
    /// Workspace whose images are purged, by its id.
    #[arg(long, value_name = "ID")]
    workspace: Option<String>,
    /// Purge the whole cache.
    #[arg(long)]
    all: bool,
}

/// Exit code for settings or arguments that cannot be used.
const EXIT_USAGE: u8 = 2;

impl Cli {
    /// Runs the command and returns its exit code. Errors have been printed to standard error by then.
    #[must_use]
    pub fn run(self) -> ExitCode {
        let environment: Environment = std::env::vars().collect();
        let done = match self.command {
            Command::Serve(serve) => serve.run(&environment),
            #[cfg(not(feature = "emulator"))]
            Command::Demo(demo) => Ok(demo.run()),
            #[cfg(feature = "emulator")]
            Command::Demo(demo) => demo.run(),
            #[cfg(feature = "emulator")]
            Command::Emulate(emulate) => emulate.run(),
            Command::Check(check) => check.run(&environment),
            Command::Config(args) => args
                .load(&environment)
                .map(|loaded| print_out(&loaded.to_toml())),
            Command::Ttl(ttl) => ttl.run(&environment),
            Command::Purge(purge) => purge.run(&environment),
            Command::Resolve(resolve) => Ok(resolve.run(&environment)),
            Command::Client(client) => client.run(&environment),
            Command::Docs(page) => Ok(print_out(&page.text())),
            Command::Healthcheck(healthcheck) => healthcheck.run(&environment),
        };
        match done {
            Ok(code) => code,
            Err(error) => {
                print_error(&error_chain(&*error));
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
    /// Sends a request to the selected gateway's admin listener, with the token of its settings.
    ///
    /// # Errors
    /// Settings or an address that cannot be used, or no response.
    fn send(
        self,
        mut request: AdminRequest<'_>,
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
        request.token = admin.token()?;
        block_on(request.send(&address))?
    }
}

impl Healthcheck {
    fn run(self, environment: &Environment) -> anyhow::Result<ExitCode> {
        let request = AdminRequest {
            method: Method::GET,
            path: "/readyz",
            body: None,
            token: None,
        };
        let (status, text) = self.running.send(request, environment)?;
        anyhow::ensure!(status.is_success(), "not ready: {}", text.trim());
        Ok(print_out("ready\n"))
    }
}

impl Purge {
    fn run(self, environment: &Environment) -> anyhow::Result<ExitCode> {
        let PurgeSelection {
            image,
            workspace,
            all,
        } = self.scope;
        let mut body = match (image, workspace, all) {
            (Some(image), ..) => json!({ "image": image }),
            (_, Some(workspace), _) => json!({ "workspace": workspace }),
            _ => json!({ "all": true }),
        };
        body["soft"] = self.soft.into();
        let request = AdminRequest {
            method: Method::POST,
            path: "/purge",
            body: Some(body.to_string()),
            token: None,
        };
        let (status, text) = self.running.send(request, environment)?;
        let answer: Value = serde_json::from_str(&text).unwrap_or_default();
        anyhow::ensure!(
            status.is_success(),
            "not purged: {}",
            answer["error"].as_str().unwrap_or(text.trim())
        );
        Ok(print_out(&format!(
            "purged {} cached responses\n",
            answer["purged"]
        )))
    }
}

/// Runs a future on a runtime of its own: a worker for each processor, or this thread, which nobody need wake, for one.
fn block_on<T>(future: impl Future<Output = T>) -> std::io::Result<T> {
    let told = std::env::var("TOKIO_WORKER_THREADS").ok();
    let told: Option<NonZeroUsize> = told.and_then(|number| number.parse().ok());
    let mut builder = match told.or_else(|| std::thread::available_parallelism().ok()) {
        Some(NonZeroUsize::MIN) => tokio::runtime::Builder::new_current_thread(),
        _ => tokio::runtime::Builder::new_multi_thread(),
    };
    let runtime = builder.enable_all().build()?;
    let done = runtime.block_on(future);
    // A task that still runs, such as a slow file read, must not keep the process from ending.
    runtime.shutdown_timeout(std::time::Duration::from_secs(1));
    Ok(done)
}

/// Writes to standard output; fails when its reader has gone, as in `… | head`.
fn print_out(text: &str) -> ExitCode {
    use std::io::Write as _;
    match std::io::stdout().write_all(text.as_bytes()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}

/// Writes an error to standard error. A failure to do so is ignored: there is nowhere to report it.
fn print_error(text: &str) {
    use std::io::Write as _;
    drop(writeln!(std::io::stderr(), "error: {}", text.trim_end()));
}
