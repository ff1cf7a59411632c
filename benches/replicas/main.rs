//! Upstream calls of a fleet of gateways, and the age of its responses: `benches/fleet`. With `--account`, what an
//! account's quota is spent on: `benches/quota`.
//!
//! All gateways run in this process, each with its own memory, sockets and connections, beside the
//! emulated origin; Redis is a process of its own. Each scene is a row of the table: the calls that
//! reached the origin, the smallest possible number, and the clients' view. With `--hosts`
//! the gateways are processes in network namespaces, one of which is cut off.

mod account;
mod client;
mod fleet;
mod hosts;
mod images;
mod load;
mod options;
mod report;
mod scenes;
mod server;
mod watch;

#[path = "../../tests/it/support"]
#[expect(
    dead_code,
    unused_imports,
    clippy::unwrap_used,
    reason = "the tests' servers, of which this needs a part"
)]
mod support {
    pub(crate) mod redis;
}

use std::error::Error;
use std::process::ExitCode;

use clap::Parser;
use pai_image_gateway::app::raise_file_limit;

use options::Options;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

type Outcome<T> = Result<T, Box<dyn Error + Send + Sync>>;

fn main() -> Outcome<ExitCode> {
    let options = Options::parse();
    // `cargo test --benches` only asks whether this builds and starts.
    if !options.bench {
        return Ok(ExitCode::SUCCESS);
    }
    raise_file_limit();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    if options.hosts && options.inside.is_none() {
        return runtime.block_on(hosts::enter());
    }
    if options.account {
        let report = runtime.block_on(account::play(&options))?;
        runtime.shutdown_background();
        return report.print(&account::describe(&options));
    }
    let report = runtime.block_on(async {
        match &options.inside {
            Some(stem) => hosts::play(&options, stem).await,
            None => scenes::play(&options).await,
        }
    })?;
    runtime.shutdown_background();
    report.print(&options.describe())
}
