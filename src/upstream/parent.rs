//! A parent gateway in the origin's place: what it is told beside a call, and what its own errors mean.
//!
//! A parent has tried for itself, within its own retries, breaker and deadlines. So what it says in its own codes is
//! final: to try again here would multiply its attempts by ours, and those of each gateway before us.

use bytes::Bytes;
use compact_str::CompactString;
use http::header::{CACHE_CONTROL, VIA};
use http::{HeaderMap, HeaderValue};

use super::{Upstream, UpstreamError, Verdict};
use crate::api::{Call, ImageId, ImageKey, Operation, OriginError};
use crate::observability::logging::Condition;
use crate::observability::outcome::CallResult;
use crate::observability::traces::Trace;
use crate::priority::{Priority, SharedPriority};
use crate::transport::Reply;
use crate::upstream::via::{ForwardingLoop, Hops};

/// Origin of a call: the client whose turn in the queue it takes, and what a parent gateway learns. The API learns
/// nothing: no header of a client reaches it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Propagation {
    /// Name of the client that causes the call; empty for the gateway itself.
    pub client: CompactString,
    /// What the request came by that the call is made for.
    pub hops: Hops,
    /// Whether the parent is to ask the origin anew. It does so only for a key that may refresh there.
    pub no_cache: bool,
    /// Whether the parent is to answer from memory or not at all. It does so only for such a key, too.
    pub only_if_cached: bool,
}

impl Propagation {
    /// The same, caused by this client.
    #[must_use]
    pub fn by(self, client: &str) -> Self {
        Self {
            client: client.into(),
            ..self
        }
    }
}

/// Why a parent gateway has no answer, by its own code.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ParentFault {
    /// Its origin did not answer in time.
    #[error("the origin did not answer the parent gateway in time")]
    Timeout,
    /// Its origin fails, or the parent holds calls back.
    #[error("the parent gateway cannot reach the origin")]
    Unavailable,
    /// It has too many connections.
    #[error("the parent gateway has too many connections")]
    Overloaded,
    /// It has no copy, and was told not to ask for one.
    #[error("the parent gateway has no copy")]
    NotCached,
    /// Its origin's answer is none.
    #[error("the parent gateway cannot read the origin's answer")]
    Unreadable,
    /// Its origin refuses its credential.
    #[error("the origin refuses the parent gateway's credential")]
    Credential,
    /// What it is asked comes back to a gateway that has asked.
    #[error(
        "requests go in a circle, or through too many gateways: their operator must look at upstream.endpoint"
    )]
    Loop,
}

impl ParentFault {
    /// The metric's word. A credential that is refused there is none of ours.
    #[must_use]
    pub const fn result(self) -> CallResult {
        match self {
            Self::Timeout => CallResult::Timeout,
            Self::NotCached => CallResult::ClientError,
            Self::Unavailable
            | Self::Overloaded
            | Self::Unreadable
            | Self::Credential
            | Self::Loop => CallResult::ServerError,
        }
    }

    /// Whether an older answer is better than this error. A circle is a mistake in the settings, which stale answers
    /// would hide.
    #[must_use]
    pub const fn permits_stale(self) -> bool {
        !matches!(self, Self::Loop)
    }

    /// Whether the parent itself fails. Else it answers, fast, and what it has in memory is worth asking for.
    #[must_use]
    pub(super) const fn is_its_own(self) -> bool {
        matches!(self, Self::Overloaded)
    }

    /// What a code of 500 and above means, if it is a gateway's.
    fn of(code: &str) -> Option<Self> {
        Some(match code.strip_prefix("Gateway.")? {
            "UpstreamTimeout" => Self::Timeout,
            "Overloaded" => Self::Overloaded,
            "NotCached" => Self::NotCached,
            "InvalidUpstreamResponse" => Self::Unreadable,
            "CredentialRejected" => Self::Credential,
            "LoopDetected" => Self::Loop,
            _ => Self::Unavailable,
        })
    }
}

/// Judges what only a gateway answers: its faults, and that our key may not read images there, which is our
/// credential's trouble. That it may not write or search so is an answer to who asked.
pub(super) fn classify(operation: &Operation, reply: &Reply) -> Option<Verdict> {
    if reply.status < 400 {
        return None;
    }
    let error = OriginError::parse(reply.status, &reply.body);
    match (reply.status, operation) {
        (403, Operation::GetImage(_)) if error.code == "Gateway.Forbidden" => {
            Some(Verdict::Permission(error))
        }
        (500.., _) => ParentFault::of(&error.code).map(Verdict::Parent),
        _ => None,
    }
}

impl Upstream {
    /// What a parent is to be told of a request's way. Reads nothing where the API itself is asked.
    ///
    /// # Errors
    /// [`ForwardingLoop`] for a request that goes no further.
    pub fn propagation(&self, headers: &HeaderMap) -> Result<Propagation, ForwardingLoop> {
        let Some(instance) = &self.instance else {
            return Ok(Propagation::default());
        };
        let hops =
            instance
                .receive(headers)
                .inspect_err(|forwarding_loop| match forwarding_loop {
                    // Nobody can make up this gateway's name.
                    ForwardingLoop::Returned => {
                        let (conditions, origin) = (&self.metrics.conditions, self.origin.host());
                        conditions
                            .occurred(Condition::GatewayLoop, "", || format!("origin {origin}"));
                    }
                    ForwardingLoop::TooLong => {
                        tracing::debug!("a request came through too many gateways")
                    }
                })?;
        Ok(Propagation {
            hops,
            ..Propagation::default()
        })
    }

    /// Asks a parent gateway whether our key may refresh there, by an `only-if-cached` for an id that no image
    /// has: heeded, it is 504 at once; ignored, the parent asks the origin. `None` where the parent does not say.
    pub async fn may_refresh(&self) -> Option<bool> {
        let image = ImageId::parse(&format!("no-image-{:032x}", fastrand::u128(..))).ok()?;
        let call = Call::get_image(ImageKey {
            image,
            verbose: false,
        });
        let propagation = Propagation {
            only_if_cached: true,
            ..Propagation::default()
        };
        let priority = SharedPriority::new(Priority::Miss);
        let answer = self
            .send(&call, Bytes::new(), &priority, &propagation, &Trace::none())
            .await;
        match answer {
            Err(UpstreamError::Parent(ParentFault::NotCached)) => Some(true),
            // Or it may not read images there, either.
            Ok(_) | Err(UpstreamError::Credential(_)) => Some(false),
            Err(_) => None,
        }
    }

    /// Writes what a parent is told. Beside the signature, as `traceparent` is.
    pub(super) fn write_parent_headers(&self, propagation: &Propagation, headers: &mut HeaderMap) {
        let Some(instance) = &self.instance else {
            return;
        };
        headers.insert(VIA, instance.header(&propagation.hops));
        if propagation.no_cache {
            headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
        }
        if propagation.only_if_cached {
            headers.insert(CACHE_CONTROL, HeaderValue::from_static("only-if-cached"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::{ImageId, ImageKey};

    fn judged(operation: &Operation, status: u16, code: &str) -> Option<Verdict> {
        let reply = Reply {
            status,
            headers: HeaderMap::new(),
            body: format!(r#"{{"Code":"{code}"}}"#).into(),
            connection: crate::transport::Connection::default(),
        };
        classify(operation, &reply)
    }

    #[test]
    fn a_gateways_own_codes_are_told_from_the_apis() {
        let get = Operation::GetImage(ImageKey {
            image: ImageId::parse("i").unwrap(),
            verbose: false,
        });
        for (status, code, expected) in [
            (504, "Gateway.UpstreamTimeout", Some(ParentFault::Timeout)),
            (
                503,
                "Gateway.UpstreamUnavailable",
                Some(ParentFault::Unavailable),
            ),
            (503, "Gateway.Overloaded", Some(ParentFault::Overloaded)),
            (
                502,
                "Gateway.InvalidUpstreamResponse",
                Some(ParentFault::Unreadable),
            ),
            (
                502,
                "Gateway.CredentialRejected",
                Some(ParentFault::Credential),
            ),
            (508, "Gateway.LoopDetected", Some(ParentFault::Loop)),
            (504, "Gateway.NotCached", Some(ParentFault::NotCached)),
            (500, "Gateway.Internal", Some(ParentFault::Unavailable)),
            (503, "ServiceUnavailable", None),
            (502, "", None),
            (404, "ImageNotFound", None),
            (400, "Gateway.Other", None),
        ] {
            assert_eq!(
                judged(&get, status, code),
                expected.map(Verdict::Parent),
                "{code}"
            );
        }
        let forbidden = judged(&get, 403, "Gateway.Forbidden");
        assert!(matches!(forbidden, Some(Verdict::Permission(_))));
        assert_eq!(
            judged(&Operation::ListImages, 403, "Gateway.Forbidden"),
            None
        );
    }
}
