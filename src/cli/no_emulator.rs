//! `demo` and `emulate` of a build without the feature `emulator`, as in the container image: they fail with the
//! remedy instead of being unknown.

use std::ffi::OsString;
use std::process::ExitCode;

use clap::Args;

use super::{EXIT_USAGE, print_error};

/// Any arguments, so that the error names the missing feature rather than one of them.
#[derive(Debug, Args)]
pub(super) struct NoEmulator {
    #[arg(hide = true, trailing_var_arg = true, allow_hyphen_values = true)]
    _ignored: Vec<OsString>,
}

impl NoEmulator {
    /// Prints the remedy; the exit code is that of arguments that cannot be used.
    pub(super) fn run(self) -> ExitCode {
        print_error(
            "this build has no emulator: use the program of a release archive, or build with --features emulator",
        );
        ExitCode::from(EXIT_USAGE)
    }
}
