//! Reasons why `probe` ends without facts, each with its remedy.

use crate::api::{Action, OriginError};
use crate::upstream::UpstreamError;

/// Reason why the facts could not be gathered.
#[derive(Debug, thiserror::Error)]
pub(super) enum ProbeFailure {
    /// No source has a credential.
    #[error("no credential: {0}; `check` tries the source of the settings")]
    NoCredential(String),
    /// The credential may not call the operation, or not for this image or workspace.
    #[error(
        "the origin denies {operation}: {code} (RequestId {request_id}); allow {allow} to the credential's user or role: `policy` prints a RAM policy with it",
        operation = .action.as_str(),
        code = .error.code,
        request_id = .error.request_id,
        allow = .action.ram_action().unwrap_or_default()
    )]
    Denied {
        /// Operation that was denied.
        action: Action,
        /// Answer of the origin.
        error: OriginError,
    },
    /// The list has no image to ask for.
    #[error(
        "the list of {0} has no image: name another workspace by --workspace, or an image by --image"
    )]
    NoImage(String),
    /// The named image does not exist.
    #[error(
        "--image: the origin has no image {0}: name another one, or leave it out to take the first of a list"
    )]
    MissingImage(String),
    /// An answer with status 200 is no image, or no page of images.
    #[error("{}: the origin's answer cannot be read", .0.as_str())]
    Unreadable(Action),
    /// No answer about the resource came.
    #[error("{operation}: {}", remedy(.error), operation = .action.as_str())]
    Failed {
        /// Operation that failed.
        action: Action,
        /// Failure of the call.
        #[source]
        error: UpstreamError,
    },
}

/// Returns what an operator can do about a failed call.
fn remedy(error: &UpstreamError) -> &'static str {
    match error {
        UpstreamError::Timeout | UpstreamError::Transport(_) => {
            "no answer from the origin: check the network, upstream.region, upstream.endpoint and upstream.proxy"
        }
        UpstreamError::Credential(_)
        | UpstreamError::NoCredential
        | UpstreamError::Permission(_) => {
            "the credential is not accepted: `check` names its source, and `policy` prints the RAM policy that it needs"
        }
        UpstreamError::Throttled(_) | UpstreamError::Overloaded(_) => {
            "the account's quota is used up: run it again later"
        }
        UpstreamError::Account(_) => "the account is not in order: see its bill and its products",
        UpstreamError::Foreign(_) => {
            "the answer is not the API's: check upstream.endpoint and upstream.proxy"
        }
        UpstreamError::Server(_)
        | UpstreamError::Refused(_)
        | UpstreamError::Unreadable(_)
        | UpstreamError::CircuitOpen
        | UpstreamError::Parent(..) => "the origin gave no usable answer: run it again later",
    }
}
