//! What a request's head must hold whoever reads it, so that nobody in front of the gateway reads
//! another request than the gateway does. How long a body is, is hyper's to judge: it refuses what is
//! ambiguous, and closes the connection after a body with both a length and chunks (RFC 9112 §6.1).

use http::header::HOST;
use http::{Version, request::Parts};

use crate::api::Malformed;

/// Refuses a head without one Host, as HTTP/1.1 needs it (RFC 9112 §3.2), whatever its value: SDKs
/// write there what their user gave as endpoint.
pub(super) fn check(head: &Parts) -> Result<(), Malformed> {
    let mut hosts = head.headers.get_all(HOST).iter();
    match (hosts.next(), hosts.next()) {
        (None, _) if head.version == Version::HTTP_11 => {
            Err(Malformed::new("there must be a Host header"))
        }
        (_, Some(_)) => Err(Malformed::new("there must be one Host header")),
        (_, None) => Ok(()),
    }
}
