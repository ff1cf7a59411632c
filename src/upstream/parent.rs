//! A parent gateway in the origin's place: the headers that it gets beside a call, and the meaning of its own errors.
//! [`freshness`] reads the headers that it sends.
//!
//! A parent has made its own attempts, within its own retries, breakers and deadlines. So its own error codes are
//! final: a retry here would multiply its attempts by ours, and those of each gateway before us.

mod freshness;

use bytes::Bytes;
use compact_str::CompactString;
use http::header::{CACHE_CONTROL, VIA};
use http::{HeaderMap, HeaderValue};
use tokio::time::Instant;

use super::answer::error_of;
use super::priority::{Priority, SharedPriority};
use super::{AnswerKind, Patience, Upstream, UpstreamError, UpstreamFreshness, UpstreamKind};
use crate::api::{Call, ImageId, ImageKey, Operation};
use crate::observability::logging::Condition;
use crate::observability::outcome::CallResult;
use crate::observability::traces::Trace;
use crate::transport::Reply;
use crate::upstream::via::{ForwardingLoop, Hops};

/// Request context of a call: the client whose turn in the queue it takes, and the directives for a parent gateway.
/// The API gets none of it: no header of a client reaches it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Propagation {
    /// Name of the client that causes the call; empty for the gateway itself.
    pub client: CompactString,
    /// Gateways and proxies that the client's request has passed.
    pub hops: Hops,
    /// `Cache-Control: no-cache`: the parent fetches from its origin. It does so only for a key that may refresh there.
    pub no_cache: bool,
    /// `Cache-Control: only-if-cached`: the parent answers from its cache or with 504. Only for such a key, too.
    pub only_if_cached: bool,
}

impl Propagation {
    /// Returns the context with this client as the cause of the call.
    #[must_use]
    pub fn by(self, client: &str) -> Self {
        Self {
            client: client.into(),
            ..self
        }
    }
}

/// Error of a parent gateway, by its own code.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error, strum::VariantArray)]
pub enum ParentFault {
    /// The parent's origin did not answer in time.
    #[error("the origin did not answer the parent gateway in time")]
    Timeout,
    /// The parent's origin fails, or one of the parent's circuit breakers is open.
    #[error("the parent gateway cannot reach the origin")]
    Unavailable,
    /// The parent has too many connections or requests in flight.
    #[error("the parent gateway has too many connections")]
    Overloaded,
    /// The parent has no copy, and the request was `only-if-cached`.
    #[error("the parent gateway has no copy")]
    NotCached,
    /// The parent cannot read its origin's response.
    #[error("the parent gateway cannot read the origin's answer")]
    Unreadable,
    /// The parent's origin rejects the parent's credential.
    #[error("the origin refuses the parent gateway's credential")]
    Credential,
    /// The request came back to a gateway that it had passed already.
    #[error("requests go in a loop, or through too many gateways: check upstream.endpoint of each")]
    Loop,
}

impl ParentFault {
    /// Returns the label of the metric. A credential that is rejected there is not this gateway's.
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

    /// Returns whether an older answer is better than this error. A loop is a mistake in the settings, which stale
    /// answers would hide.
    #[must_use]
    pub const fn permits_stale(self) -> bool {
        !matches!(self, Self::Loop)
    }

    /// Returns whether the parent itself fails. Otherwise it responds fast, and may have other images in its cache.
    #[must_use]
    pub(super) const fn is_its_own(self) -> bool {
        matches!(self, Self::Overloaded)
    }

    /// Returns the meaning of the Code of a status of 500 and above, if it is a gateway's own.
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

/// Classifies the errors that only a gateway answers with; `None` for a response that is classified as the API's.
///
/// A parent that denies our key the reading of images rejects our credential. One that denies it a write or a search
/// has an answer for the client.
pub(super) fn classify(
    operation: &Operation,
    reply: &Reply,
) -> Option<Result<AnswerKind, UpstreamError>> {
    if reply.status < 400 {
        return None;
    }
    let error = error_of(reply);
    match (reply.status, operation) {
        (403, Operation::GetImage(_)) if error.code == "Gateway.Forbidden" => {
            Some(Err(UpstreamError::Permission(error)))
        }
        (500.., _) => {
            ParentFault::of(&error.code).map(|fault| Err(UpstreamError::Parent(fault, error)))
        }
        _ => None,
    }
}

impl Upstream {
    /// Returns the context of a request for its calls; reads its `Via` only where the origin is a parent gateway.
    ///
    /// # Errors
    /// [`ForwardingLoop`] for a request that has passed this gateway before, or too many others.
    pub fn propagation(&self, headers: &HeaderMap) -> Result<Propagation, ForwardingLoop> {
        let Some(instance) = &self.instance else {
            return Ok(Propagation::default());
        };
        let hops =
            instance
                .receive(headers)
                .inspect_err(|forwarding_loop| match forwarding_loop {
                    // A real loop, and an error in the settings: the name is random, so no client can forge it.
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

    /// Returns the freshness of the reply to a request that was sent at `sent`, and a time after which the origin was
    /// certainly asked for it: `sent` itself where no cache is between.
    pub(super) fn freshness(
        &self,
        reply: &Reply,
        sent: Instant,
    ) -> (UpstreamFreshness, Option<Instant>) {
        match self.config.kind {
            UpstreamKind::Api => (UpstreamFreshness::default(), Some(sent)),
            UpstreamKind::Gateway => freshness::read(reply, sent),
        }
    }

    /// Probes whether this gateway's key may refresh at the parent: an `only-if-cached` for an id that no image has is
    /// 504 at once where it may, and is ignored where it may not. `None` where the response shows neither.
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
            .send(
                &call,
                Bytes::new(),
                (&priority, Patience::Fetch(None)),
                &propagation,
                &Trace::none(),
            )
            .await;
        match answer {
            Err(UpstreamError::Parent(ParentFault::NotCached, _)) => Some(true),
            // With `Permission` the key may not even read images there.
            Ok(_) | Err(UpstreamError::Credential(_) | UpstreamError::Permission(_)) => Some(false),
            Err(_) => None,
        }
    }

    /// Writes `Via` and the cache directives for a parent; the signature covers neither, just as `traceparent`.
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

    fn classified(
        operation: &Operation,
        status: u16,
        code: &str,
    ) -> Option<Result<AnswerKind, UpstreamError>> {
        let reply = Reply {
            status,
            headers: HeaderMap::new(),
            body: format!(r#"{{"Code":"{code}"}}"#).into(),
            connection: crate::transport::Connection::default(),
        };
        classify(operation, &reply)
    }

    #[test]
    fn a_gateways_own_codes_are_distinguished_from_the_apis() {
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
            let fault = match classified(&get, status, code) {
                Some(Err(UpstreamError::Parent(fault, error))) => {
                    assert_eq!((error.status, &*error.code), (status, code));
                    Some(fault)
                }
                Some(other) => panic!("{code}: {other:?}"),
                None => None,
            };
            assert_eq!(fault, expected, "{code}");
        }
        let forbidden = classified(&get, 403, "Gateway.Forbidden");
        assert!(matches!(forbidden, Some(Err(UpstreamError::Permission(_)))));
        assert!(classified(&Operation::ListImages, 403, "Gateway.Forbidden").is_none());
    }
}
