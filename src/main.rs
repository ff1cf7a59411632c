//! The command `pai-image-gateway`.

use std::process::ExitCode;

use clap::Parser;
use pai_image_gateway::cli::Cli;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    Cli::parse().run()
}
