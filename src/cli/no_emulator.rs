//! `demo`, `emulate` and `rehearse` of a build without the feature `emulator`, as in the container image: they fail with the
//! remedy instead of being unknown.

use clap::Args;
use std::ffi::OsString;

use super::{Exit, print_error};

/// Any arguments, so that the error names the missing feature rather than one of them.
#[derive(Debug, Args)]
#[command(about = "Not in this build.", long_about = None)]
pub(super) struct NoEmulator {
    #[arg(hide = true, trailing_var_arg = true, allow_hyphen_values = true)]
    _ignored: Vec<OsString>,
}

impl NoEmulator {
    /// Prints the remedy; the exit code is that of arguments that cannot be used.
    pub(super) fn run(self) -> Exit {
        print_error(
            "this build has no emulator: use the program of a release archive, or build with --features emulator",
        );
        Exit::Usage
    }
}
