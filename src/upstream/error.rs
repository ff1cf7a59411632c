//! How attempts and calls end.

use std::sync::Arc;

use super::{ParentFault, Throttle};
use crate::api::OriginError;
use crate::observability::outcome::CallResult;
use crate::transport::TransportError;

/// Why a call brought no answer about what was asked.
#[derive(Debug, Clone, thiserror::Error)]
pub enum UpstreamError {
    /// No answer in time.
    #[error("the origin did not answer in time")]
    Timeout,
    /// The connection could not be made, or broke.
    #[error("the origin cannot be reached")]
    Transport(#[source] Arc<TransportError>),
    /// The account's flow control, with the origin's own Code.
    #[error("the origin throttles")]
    Throttled(Throttle),
    /// The origin failed.
    #[error("the origin failed with status {}", .0.status)]
    Server(OriginError),
    /// The origin complains about the request itself.
    #[error("the origin refuses the request: {}", .0.code)]
    Refused(OriginError),
    /// A 200 that is not what the API answers.
    #[error("the origin's answer cannot be read")]
    Unreadable,
    /// The origin refuses our credential; its code.
    #[error("the origin refuses the gateway's credential: {0}")]
    Credential(String),
    /// The origin fails, so the call was not sent.
    #[error("the origin fails; calls are held back until it is back")]
    CircuitOpen,
    /// Too many calls wait, or the quota is kept for more urgent ones; not sent.
    #[error("too many calls to the origin are waiting")]
    Overloaded,
    /// A parent gateway has no answer.
    #[error(transparent)]
    Parent(ParentFault),
    /// There is no credential yet.
    #[error("the gateway has no credential")]
    NoCredential,
}

impl UpstreamError {
    /// The word for it; the same that its last attempt was counted under.
    #[must_use]
    pub fn result(&self) -> CallResult {
        match self {
            Self::Timeout => CallResult::Timeout,
            Self::Transport(error) if error.is_unreadable() => CallResult::ServerError,
            Self::Transport(_) => CallResult::Transport,
            Self::Throttled(_) | Self::Overloaded => CallResult::Throttled,
            Self::Server(_) | Self::Unreadable | Self::CircuitOpen => CallResult::ServerError,
            Self::Credential(_) | Self::NoCredential => CallResult::Credential,
            Self::Refused(_) => CallResult::ClientError,
            Self::Parent(fault) => fault.result(),
        }
    }

    /// Whether an older answer about a known image is better than this error: yes for every trouble between the
    /// gateway and the origin, and for every complaint that is neither a not-found nor a refusal of permission.
    #[must_use]
    pub const fn permits_stale(&self) -> bool {
        match self {
            Self::Parent(fault) => fault.permits_stale(),
            Self::Timeout
            | Self::Transport(_)
            | Self::Throttled(_)
            | Self::Server(_)
            | Self::Refused(_)
            | Self::Unreadable
            | Self::CircuitOpen
            | Self::Overloaded
            | Self::Credential(_)
            | Self::NoCredential => true,
        }
    }

    /// Whether it is about the request that began the fetch rather than about the image: who joined may try alone.
    #[must_use]
    pub const fn is_the_starters(&self) -> bool {
        matches!(self, Self::Overloaded | Self::Parent(ParentFault::Loop))
    }
}
