//! Command line of the gateway: one module for each command, and what they share.

mod check;
mod client;
mod columns;
mod completions;
mod config;
#[cfg(feature = "emulator")]
mod demo;
mod docs;
#[cfg(feature = "emulator")]
mod emulate;
mod exit;
mod explain;
mod healthcheck;
#[cfg(not(feature = "emulator"))]
mod no_emulator;
mod output;
mod policy;
mod probe;
mod purge;
#[cfg(feature = "emulator")]
mod rehearse;
mod resolve;
mod running;
mod serve;
mod status;
mod ttl;

use std::num::NonZeroUsize;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::environment::Environment;
use crate::error_chain::error_chain;
use config::ConfigArgs;
use exit::Exit;
use output::{print_error, print_json, print_note, print_out, printable};
use running::RunningGateway;

/// Caching, signing reverse proxy in front of Alibaba Cloud PAI's AIWorkSpace image API.
#[derive(Debug, Parser)]
#[command(name = "pai-image-gateway", version = VERSION, arg_required_else_help = true)]
#[command(after_help = "\
Examples:
  pai-image-gateway demo
  pai-image-gateway serve --config gateway.toml")]
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

/// The commands; the type of each has its help text.
#[derive(Debug, Subcommand)]
enum Command {
    Serve(serve::Serve),
    #[cfg(feature = "emulator")]
    Demo(demo::Demo),
    #[cfg(feature = "emulator")]
    Emulate(emulate::Emulate),
    #[cfg(feature = "emulator")]
    Rehearse(rehearse::Rehearse),
    #[cfg(not(feature = "emulator"))]
    #[command(hide = true, aliases = ["emulate", "rehearse"])]
    Demo(no_emulator::NoEmulator),
    Check(check::Check),
    Probe(probe::Probe),
    Config(config::EffectiveSettings),
    Policy(policy::PrintPolicy),
    Status(status::Status),
    Explain(explain::Explain),
    Healthcheck(healthcheck::Healthcheck),
    Purge(purge::Purge),
    Resolve(resolve::Resolve),
    Ttl(ttl::Ttl),
    /// Manage the clients that may use the gateway where auth.mode is "required".
    #[command(subcommand, after_help = client::EXAMPLES)]
    Client(client::ClientCommand),
    Completions(completions::Completions),
    /// Print a generated page of the documentation.
    #[command(subcommand, hide = true)]
    Docs(docs::Docs),
}

impl Cli {
    /// Runs the command and returns its exit code. Errors have been printed to standard error by then.
    #[must_use]
    pub fn run(self) -> ExitCode {
        let environment: Environment = std::env::vars().collect();
        let exit = self.command.run(&environment).unwrap_or_else(|error| {
            print_error(&error_chain(&*error));
            Exit::of(&error)
        });
        exit.into()
    }
}

impl Command {
    fn run(self, environment: &Environment) -> anyhow::Result<Exit> {
        match self {
            Self::Serve(serve) => serve.run(environment),
            #[cfg(not(feature = "emulator"))]
            Self::Demo(demo) => Ok(demo.run()),
            #[cfg(feature = "emulator")]
            Self::Demo(demo) => demo.run(),
            #[cfg(feature = "emulator")]
            Self::Emulate(emulate) => emulate.run(),
            #[cfg(feature = "emulator")]
            Self::Rehearse(rehearse) => rehearse.run(environment),
            Self::Check(check) => check.run(environment),
            Self::Probe(probe) => probe.run(environment),
            Self::Config(config) => config.run(environment),
            Self::Policy(policy) => policy.run(environment),
            Self::Status(status) => status.run(environment),
            Self::Explain(explain) => explain.run(environment),
            Self::Healthcheck(healthcheck) => healthcheck.run(environment),
            Self::Purge(purge) => purge.run(environment),
            Self::Resolve(resolve) => Ok(resolve.run(environment)),
            Self::Ttl(ttl) => ttl.run(environment),
            Self::Client(client) => client.run(environment),
            Self::Completions(completions) => completions.run(),
            Self::Docs(page) => page.run(),
        }
    }
}

/// Tells whether lines for a person may be coloured: not where NO_COLOR has a value. <https://no-color.org>
fn may_colour() -> bool {
    std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
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

#[cfg(test)]
mod tests;
