//! Failures of calls to the origin, one variant for each cause that a reader treats differently.

use std::sync::Arc;
use std::time::Duration;

use super::ParentFault;
use crate::api::OriginError;
use crate::observability::outcome::CallResult;
use crate::transport::TransportError;

/// Failure of a call: the origin gave no answer about the resource that the call names.
///
/// Variants that stem from a response keep its status, Code and request id; [`answer`](Self::answer) returns them.
#[derive(Debug, Clone, thiserror::Error)]
pub enum UpstreamError {
    /// No answer within the attempt's or the call's deadline. The origin may have carried the call out.
    #[error("the origin did not answer in time")]
    Timeout,
    /// The connection could not be opened, or broke before a whole answer. All waiters of a fetch share the cause.
    #[error("{}", transport_failure(.0))]
    Transport(#[source] Arc<TransportError>),
    /// The account's flow control rejected the call.
    #[error("the origin throttles")]
    Throttled(Throttle),
    /// The origin failed with a status of 500 and above, or with a Code at a status that is no error's.
    #[error("the origin failed with status {}", .0.status)]
    Server(OriginError),
    /// A status below 500 without a Code: a proxy on the way answered, not the API.
    #[error("a proxy on the way to the origin answered with status {}", .0.status)]
    Foreign(OriginError),
    /// The origin rejects the request itself, for example for an invalid parameter.
    #[error("the origin refuses the request: {}", .0.code)]
    Refused(OriginError),
    /// The origin refuses the account, whatever the request: its bill, or a product that is not activated.
    #[error("the origin refuses the account: {}", .0.code)]
    Account(OriginError),
    /// A 200 whose body is not a response of the operation.
    #[error("the origin's answer cannot be read")]
    Unreadable(OriginError),
    /// The origin rejects the gateway's key, signature, token or clock.
    #[error("the origin refuses the gateway's credential: {}", .0.code)]
    Credential(OriginError),
    /// The gateway's credential has no permission for the operation as a whole.
    #[error("the origin denies the gateway's credential the operation: {}", .0.code)]
    Permission(OriginError),
    /// A circuit breaker is open, so the call was not sent.
    #[error("the origin fails; the circuit breaker is open and the call was not sent")]
    CircuitOpen,
    /// The call would wait too long for its turn, or the rest of the quota is reserved for more urgent calls; it was
    /// not sent. The time after which there will be room for it.
    #[error("too many calls to the origin are waiting")]
    Overloaded(Duration),
    /// A parent gateway answered with an error Code of its own.
    #[error("{0}")]
    Parent(ParentFault, OriginError),
    /// No credential has been obtained yet, so the call was not sent.
    #[error("the gateway has no credential")]
    NoCredential,
}

/// Tells an answer that came and cannot be decoded from none.
fn transport_failure(error: &TransportError) -> &'static str {
    if error.is_unreadable() {
        "the origin's answer cannot be read"
    } else {
        "the origin cannot be reached"
    }
}

/// Rejection by the account's flow control.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Throttle {
    /// Error that the origin answered with; its Code is empty where the origin gave none.
    pub error: OriginError,
    /// Time to wait: the origin's, where it names one, or until there will be room for the call.
    pub wait: Option<Duration>,
}

impl UpstreamError {
    /// Returns the label of the metric, which is the one that the call's last attempt was counted under.
    #[must_use]
    pub fn result(&self) -> CallResult {
        match self {
            Self::Timeout => CallResult::Timeout,
            Self::Transport(error) if error.is_unreadable() => CallResult::ServerError,
            Self::Transport(_) => CallResult::Transport,
            Self::Throttled(_) | Self::Overloaded(_) => CallResult::Throttled,
            Self::Server(_) | Self::Foreign(_) | Self::Unreadable(_) | Self::CircuitOpen => {
                CallResult::ServerError
            }
            Self::Credential(_) | Self::Permission(_) | Self::NoCredential => {
                CallResult::Credential
            }
            Self::Refused(_) | Self::Account(_) => CallResult::ClientError,
            Self::Parent(fault, _) => fault.result(),
        }
    }

    /// Returns the origin's answer behind this error; `None` where no answer came or nothing was sent.
    #[must_use]
    pub const fn answer(&self) -> Option<&OriginError> {
        match self {
            Self::Server(error)
            | Self::Foreign(error)
            | Self::Refused(error)
            | Self::Account(error)
            | Self::Unreadable(error)
            | Self::Credential(error)
            | Self::Permission(error)
            | Self::Parent(_, error)
            | Self::Throttled(Throttle { error, .. }) => Some(error),
            Self::Timeout
            | Self::Transport(_)
            | Self::CircuitOpen
            | Self::Overloaded(_)
            | Self::NoCredential => None,
        }
    }

    /// Returns whether another attempt may succeed where this one failed. Only a read may be attempted again.
    ///
    /// A parent gateway's own errors are final: it has made its own attempts, and ours would multiply them.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Timeout | Self::Server(_) | Self::Unreadable(_) => true,
            Self::Transport(error) => !matches!(**error, TransportError::TooLong),
            Self::Throttled(_)
            | Self::Foreign(_)
            | Self::Refused(_)
            | Self::Account(_)
            | Self::Credential(_)
            | Self::Permission(_)
            | Self::CircuitOpen
            | Self::Overloaded(_)
            | Self::Parent(..)
            | Self::NoCredential => false,
        }
    }

    /// Returns whether a new signature cures this rejection: a used nonce by another one, an expired date by the
    /// origin's clock, which this very answer corrects.
    #[must_use]
    pub fn is_cured_by_new_signature(&self) -> bool {
        let is_cured =
            |code: &str| code == "SignatureNonceUsed" || code.starts_with("InvalidTimeStamp.");
        matches!(self, Self::Credential(error) if is_cured(&error.code))
    }

    /// Returns whether an older answer about a known image is better than this error: yes for every failure between
    /// the gateway and the origin, and for every rejection that is neither a not-found nor a denial.
    #[must_use]
    pub const fn permits_stale(&self) -> bool {
        match self {
            Self::Parent(fault, _) => fault.permits_stale(),
            Self::Timeout
            | Self::Transport(_)
            | Self::Throttled(_)
            | Self::Server(_)
            | Self::Foreign(_)
            | Self::Refused(_)
            | Self::Account(_)
            | Self::Unreadable(_)
            | Self::CircuitOpen
            | Self::Overloaded(_)
            | Self::Credential(_)
            | Self::Permission(_)
            | Self::NoCredential => true,
        }
    }

    /// Returns whether the error is about the request that began the fetch rather than about the image. A request
    /// that joined the fetch may then begin its own.
    #[must_use]
    pub const fn is_about_leader(&self) -> bool {
        matches!(
            self,
            Self::Overloaded(_) | Self::Parent(ParentFault::Loop, _)
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn transport(error: TransportError) -> UpstreamError {
        UpstreamError::Transport(Arc::new(error))
    }

    #[test]
    fn an_error_that_stems_from_a_response_returns_it() {
        let error = OriginError {
            code: "Example".to_owned(),
            ..OriginError::default()
        };
        let of_response: [fn(OriginError) -> UpstreamError; 9] = [
            UpstreamError::Server,
            UpstreamError::Foreign,
            UpstreamError::Refused,
            UpstreamError::Account,
            UpstreamError::Unreadable,
            UpstreamError::Credential,
            UpstreamError::Permission,
            |error| UpstreamError::Parent(ParentFault::Timeout, error),
            |error| UpstreamError::Throttled(Throttle { error, wait: None }),
        ];
        for of in of_response {
            assert_eq!(of(error.clone()).answer(), Some(&error));
        }
        for without in [
            UpstreamError::Timeout,
            transport(TransportError::Encoding),
            UpstreamError::CircuitOpen,
            UpstreamError::Overloaded(Duration::ZERO),
            UpstreamError::NoCredential,
        ] {
            assert_eq!(without.answer(), None, "{without:?}");
        }
    }

    #[test]
    fn an_answer_that_cannot_be_decoded_is_counted_as_the_servers_error() {
        for (error, result) in [
            (TransportError::Encoding, CallResult::ServerError),
            (TransportError::TooLong, CallResult::ServerError),
            (
                TransportError::Stale("closed".to_owned()),
                CallResult::Transport,
            ),
            (
                TransportError::Connection("reset".to_owned()),
                CallResult::Transport,
            ),
        ] {
            assert_eq!(transport(error).result(), result);
        }
    }

    #[test]
    fn a_loop_is_not_hidden_behind_a_stale_answer() {
        let parent = |fault| UpstreamError::Parent(fault, OriginError::default());
        for (error, permits_stale) in [
            (parent(ParentFault::Loop), false),
            (parent(ParentFault::Unavailable), true),
            (UpstreamError::Timeout, true),
            (UpstreamError::Credential(OriginError::default()), true),
        ] {
            assert_eq!(error.permits_stale(), permits_stale, "{error:?}");
        }
    }

    /// A full queue may have place for a request that is more urgent, and another client's way may have no loop.
    #[test]
    fn a_waiter_fetches_itself_only_after_an_error_about_the_leader() {
        let parent = |fault| UpstreamError::Parent(fault, OriginError::default());
        for (error, is_about_leader) in [
            (UpstreamError::Overloaded(Duration::ZERO), true),
            (parent(ParentFault::Loop), true),
            (parent(ParentFault::Overloaded), false),
            (UpstreamError::CircuitOpen, false),
            (UpstreamError::Timeout, false),
        ] {
            assert_eq!(error.is_about_leader(), is_about_leader, "{error:?}");
        }
    }
}
