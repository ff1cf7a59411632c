//! Exit codes of every command, and the errors that lead to them.

use std::process::ExitCode;

use crate::auth::EditError;
use crate::config::Problems;

/// Exit code of a command. `docs commands` prints the table of docs/commands.md from it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Exit {
    Success = 0,
    Failure = 1,
    Usage = 2,
}

impl Exit {
    pub(super) const ALL: [Self; 3] = [Self::Success, Self::Failure, Self::Usage];

    /// Returns the code's meaning, as the documentation states it.
    pub(super) const fn meaning(self) -> &'static str {
        match self {
            Self::Success => {
                "done; `resolve` found every image, `healthcheck` found the gateway ready, `rehearse` found every outcome as documented"
            }
            Self::Failure => {
                "failed: a port that cannot be bound, a file that cannot be written, no answer from a gateway; no permission, no image or no answer for `probe`; `resolve` missed an image, `rehearse` found an outcome that is worse than documented"
            }
            Self::Usage => {
                "settings or arguments that cannot be used; any problem that `check` finds; a `resolve` whose request could not be made"
            }
        }
    }

    /// Returns the code of a command that ended with this error.
    pub(super) fn of(error: &anyhow::Error) -> Self {
        let is_name = matches!(error.downcast_ref(), Some(EditError::Name));
        let is_usage = is_name
            || error.is::<Problems>()
            || error.is::<clap::Error>()
            || error.is::<ArgumentError>();
        if is_usage { Self::Usage } else { Self::Failure }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

/// Argument that cannot be used; the text names it and the remedy. clap finds most of them itself.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(super) struct ArgumentError(pub(super) String);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mistake_in_the_arguments_is_told_from_a_failure() {
        let mistake = anyhow::Error::from(ArgumentError("--admin: no".to_owned()));
        assert_eq!(Exit::of(&mistake.context("while asking")), Exit::Usage);
        assert_eq!(Exit::of(&anyhow::anyhow!("refused")), Exit::Failure);
    }
}
