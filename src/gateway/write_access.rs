//! Authorization of a write, by the image as the origin has it now.
//!
//! A cached copy may be PUBLIC while the image has become private. So a write is authorized by a GetImage of
//! its own, sent after the write arrived: no cache, shared fetch, negative entry or interval between forced
//! refreshes answers it, and nothing of it is stored. A cache between this gateway and the origin gets the request
//! with `no-cache`, and its answer counts only if the origin was asked after the write arrived.

use std::time::Duration;

use bytes::Bytes;
use tokio::time::{Instant, sleep};

use super::context::RequestContext;
use super::{Gateway, ingest};
use crate::api::{Call, ImageFields, ImageId, ImageKey, Malformed};
use crate::auth::{Allowed, Grant};
use crate::observability::outcome::Outcome;
use crate::response::Error;
use crate::upstream::priority::{Priority, SharedPriority};
use crate::upstream::{self, AnswerKind, Patience, Propagation, UpstreamError};

/// Number of requests to a gateway between, which refreshes an image at most once a second and shares its fetches.
const ATTEMPTS: u32 = 3;
/// Pause between them, longer than that gateway's interval between forced refreshes of one image.
const PAUSE: Duration = Duration::from_millis(1100);

const REMEDY: &str = "the parent gateway answers from memory, on which no write is authorized: its operator can grant \
     refresh to this gateway's key";

/// Reason why an image may not be written.
pub(super) enum WriteRefusal {
    /// The image exists, and the client may not view it.
    Hidden,
    /// The origin has no such image.
    Missing,
    /// The origin's answer is not known, or too old to tell.
    Unknown(Error),
}

impl Gateway {
    /// Authorizes a write of an image by its fields as the origin has them now.
    ///
    /// # Errors
    /// [`WriteRefusal::Hidden`] and [`WriteRefusal::Missing`], alike in time and price.
    pub(super) async fn authorize_image(
        &self,
        image: &ImageId,
        grant: &Grant,
        context: &RequestContext<'_>,
    ) -> Result<(), WriteRefusal> {
        let call = Call::get_image(ImageKey {
            image: image.clone(),
            verbose: false,
        });
        let upstream = &self.parts.upstream;
        let propagation = upstream.propagation(&context.head.headers);
        let propagation = Propagation {
            no_cache: true,
            ..propagation.map_err(|found| WriteRefusal::Unknown(found.into()))?
        };
        let priority = SharedPriority::new(Priority::Miss);
        let mut attempt = 1;
        loop {
            let patience = Patience::Request(Instant::now() + self.config.wait.0);
            let urgency = (&priority, patience);
            let sending = upstream.send(&call, Bytes::new(), urgency, &propagation, context.trace);
            let answer = sending
                .await
                .map_err(|error| WriteRefusal::Unknown(error.into()))?;
            let is_sure = upstream.is_direct() || attempt > 1;
            match judge(&answer, grant, context.exchange.at, is_sure) {
                WriteAccess::Granted => return Ok(()),
                WriteAccess::Hidden => return Err(WriteRefusal::Hidden),
                WriteAccess::Missing => return Err(WriteRefusal::Missing),
                WriteAccess::Unknown if attempt == ATTEMPTS => {
                    return Err(WriteRefusal::Unknown(unusable(&answer)));
                }
                WriteAccess::Unknown => sleep(PAUSE).await,
            }
            attempt += 1;
        }
    }

    /// Authorizes an AddImage: by the workspace that its body names, and by the image if it names one that
    /// exists.
    pub(super) async fn authorize_addition(
        &self,
        grant: &Grant,
        body: &[u8],
        context: &RequestContext<'_>,
    ) -> Result<(), Error> {
        let fields = ImageFields::parse(body)
            .map_err(|_| Malformed::new("the body must be one JSON object"))?;
        let workspace = fields.ownership.workspace.as_deref();
        if !workspace.map_or_else(
            || grant.workspaces == Allowed::All,
            |id| grant.workspaces.contains(id),
        ) {
            return Err(Error::Forbidden(
                "this client adds images to its own workspaces alone: name one as WorkspaceId",
            ));
        }
        let Some(image) = ingest::chosen_id(body)? else {
            return Ok(());
        };
        match self.authorize_image(&image, grant, context).await {
            Ok(()) | Err(WriteRefusal::Missing) => Ok(()),
            Err(refusal) => Err(refusal.into_error(self)),
        }
    }
}

impl WriteRefusal {
    /// Returns the client's error: one 404 for a hidden and a missing image.
    pub(super) fn into_error(self, gateway: &Gateway) -> Error {
        match self {
            Self::Hidden => gateway.unseen(Outcome::Denied),
            Self::Missing => gateway.unseen(Outcome::Passthrough),
            Self::Unknown(error) => error,
        }
    }
}

/// Meaning of the origin's answer for a write.
#[derive(Debug, PartialEq, Eq)]
enum WriteAccess {
    Granted,
    Hidden,
    Missing,
    /// The answer may be from before the write.
    Unknown,
}

/// Judges an answer. `is_sure` is false for the first one through a cache, whose denial is never believed: a not-found
/// has no age, and denying a hidden image sooner than a missing one would reveal it.
fn judge(
    answer: &upstream::OriginAnswer,
    grant: &Grant,
    arrival: Instant,
    is_sure: bool,
) -> WriteAccess {
    match &answer.kind {
        AnswerKind::Success(_) if answer.asked_after < Some(arrival) => WriteAccess::Unknown,
        AnswerKind::Success(fields) if grant.allows_viewing(&fields.ownership) => {
            WriteAccess::Granted
        }
        AnswerKind::Success(_) if is_sure => WriteAccess::Hidden,
        // The first request made the cache ask at the latest a second later.
        AnswerKind::NotFound(_) | AnswerKind::Forbidden(_) if is_sure => WriteAccess::Missing,
        AnswerKind::Success(_) | AnswerKind::NotFound(_) | AnswerKind::Forbidden(_) => {
            WriteAccess::Unknown
        }
    }
}

/// Returns the error for a cache between that never gave an answer from after the write.
fn unusable(answer: &upstream::OriginAnswer) -> Error {
    if answer.freshness.stale_reason().is_some() {
        UpstreamError::CircuitOpen.into()
    } else {
        Error::Forbidden(REMEDY)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::{Accessibility, ImageFields, OriginError, Ownership};
    use crate::auth::Allowed;
    use crate::observability::outcome::StaleReason;
    use crate::transport::{Connection, Reply};
    use crate::upstream::UpstreamFreshness;

    /// An answer for which the origin was asked after this time.
    fn answer(kind: AnswerKind, asked_after: Option<Instant>) -> upstream::OriginAnswer {
        upstream::OriginAnswer {
            kind,
            reply: Reply {
                status: 200,
                headers: http::HeaderMap::new(),
                body: Bytes::new(),
                connection: Connection::default(),
            },
            sent: Instant::now(),
            took: Duration::ZERO,
            received: jiff::Timestamp::UNIX_EPOCH,
            freshness: UpstreamFreshness::default(),
            asked_after,
        }
    }

    fn image(accessibility: Accessibility) -> AnswerKind {
        AnswerKind::Success(ImageFields {
            ownership: Ownership {
                accessibility: Some(accessibility),
                workspace: Some("1".into()),
                user: None,
            },
            ..ImageFields::default()
        })
    }

    fn judged(
        kind: AnswerKind,
        asked_after: Option<Instant>,
        arrival: Instant,
        is_sure: bool,
    ) -> WriteAccess {
        let grant = Grant {
            permissions: [].into(),
            workspaces: Allowed::Only(["1".into()].into()),
            users: Allowed::Only([].into()),
            official: false,
        };
        judge(&answer(kind, asked_after), &grant, arrival, is_sure)
    }

    #[test]
    fn an_image_must_be_from_after_the_write() {
        let arrival = Instant::now();
        let millisecond = Duration::from_millis(1);
        for (asked_after, expected) in [
            (Some(arrival), WriteAccess::Granted),
            (Some(arrival + millisecond), WriteAccess::Granted),
            (Some(arrival - millisecond), WriteAccess::Unknown),
            (None, WriteAccess::Unknown),
        ] {
            for is_sure in [false, true] {
                let kind = image(Accessibility::Public);
                let judged = judged(kind, asked_after, arrival, is_sure);
                assert_eq!(judged, expected, "{asked_after:?}");
            }
        }
    }

    #[test]
    fn a_hidden_image_is_denied_when_a_missing_one_is() {
        let arrival = Instant::now();
        let judged = |kind, is_sure| judged(kind, Some(arrival), arrival, is_sure);
        let missing = || AnswerKind::NotFound(OriginError::parse(404, b"{}"));
        let hidden = || image(Accessibility::Private);
        assert_eq!(judged(hidden(), true), WriteAccess::Hidden);
        assert_eq!(judged(missing(), true), WriteAccess::Missing);
        for kind in [hidden(), missing()] {
            assert_eq!(judged(kind, false), WriteAccess::Unknown);
        }
    }

    #[test]
    fn an_answer_that_is_stale_for_a_reason_is_no_matter_of_permission() {
        let mut answer = answer(image(Accessibility::Public), None);
        assert!(matches!(unusable(&answer), Error::Forbidden(REMEDY)));
        let (age, reason) = (Duration::from_secs(600), Some(StaleReason::OriginError));
        answer.freshness = UpstreamFreshness::new(age, Some(-500), reason);
        assert!(matches!(
            unusable(&answer),
            Error::Upstream(UpstreamError::CircuitOpen)
        ));
    }
}
