//! The `pai-image-gateway` binary: parses the command line and runs the command.

use std::process::ExitCode;

use clap::Parser;
use pai_image_gateway::cli::Cli;

// The system's allocator, musl's above all, is several times slower under many threads.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    Cli::parse().run()
}
