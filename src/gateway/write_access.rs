//! Authorization of a write, by the image as the origin has it now.
//!
//! A cached copy may be PUBLIC while the image has become private. So a write is authorized by a GetImage of
//! its own, sent after the write arrived: no cache, shared fetch, negative entry or interval between forced
//! refreshes answers it, and nothing of it is stored. A parent gateway gets the request with `no-cache`, and
//! its answer counts only if its `Age` shows that the origin was asked after the write arrived.

use std::time::Duration;

use bytes::Bytes;
use http::header::AGE;
use tokio::time::{Instant, sleep};

use super::context::RequestContext;
use super::{Gateway, ingest};
use crate::api::{Call, ImageFields, ImageId, ImageKey, Malformed};
use crate::auth::{Allowed, Grant};
use crate::cache::Parent;
use crate::observability::outcome::Outcome;
use crate::response::{CACHE_STATUS, Error};
use crate::upstream::priority::{Priority, SharedPriority};
use crate::upstream::{self, AnswerKind, Propagation, UpstreamError, UpstreamKind};

/// Number of requests to a parent, which refreshes an image at most once a second and shares its fetches.
const ATTEMPTS: u32 = 3;
/// Pause between them, longer than a parent's interval between forced refreshes of one image.
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
            let sending =
                upstream.send(&call, Bytes::new(), &priority, &propagation, context.trace);
            let answer = sending
                .await
                .map_err(|error| WriteRefusal::Unknown(error.into()))?;
            match judge(&answer, grant, context.exchange.at, attempt) {
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

/// Judges the answer to request number `attempt`. A parent's first denial is never believed: a not-found has no
/// age, and denying a hidden image sooner than a missing one would reveal it.
fn judge(
    answer: &upstream::OriginAnswer,
    grant: &Grant,
    arrival: Instant,
    attempt: u32,
) -> WriteAccess {
    let is_sure = answer.from == UpstreamKind::Api || attempt > 1;
    match &answer.kind {
        AnswerKind::Success(_) if !is_from_after(arrival, answer) => WriteAccess::Unknown,
        AnswerKind::Success(fields) if grant.allows_viewing(&fields.ownership) => {
            WriteAccess::Granted
        }
        AnswerKind::Success(_) if is_sure => WriteAccess::Hidden,
        // The first request made the parent ask at the latest a second later.
        AnswerKind::NotFound(_) | AnswerKind::Forbidden(_) if is_sure => WriteAccess::Missing,
        AnswerKind::Success(_) | AnswerKind::NotFound(_) | AnswerKind::Forbidden(_) => {
            WriteAccess::Unknown
        }
    }
}

/// Returns whether the origin gave this image to a request that was sent after `arrival`. A parent's `Age`
/// counts whole seconds from its own request.
fn is_from_after(arrival: Instant, answer: &upstream::OriginAnswer) -> bool {
    if answer.from == UpstreamKind::Api {
        return true;
    }
    let status = answer.reply.header(CACHE_STATUS.as_str());
    let age = Parent::read(answer.reply.header(AGE.as_str()), status).age;
    let is_its_own =
        status.contains("fwd=") && !status.contains("hit") && !status.contains("collapsed");
    let oldest = age + Duration::from_secs(1);
    (is_its_own && age.is_zero()) || answer.sent.checked_sub(oldest) >= Some(arrival)
}

/// Returns the error for a parent that never gave an answer from after the write.
fn unusable(answer: &upstream::OriginAnswer) -> Error {
    if answer
        .reply
        .header(CACHE_STATUS.as_str())
        .contains("detail=")
    {
        UpstreamError::CircuitOpen.into()
    } else {
        Error::Forbidden(REMEDY)
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;
    use crate::api::{Accessibility, ImageFields, OriginError, Ownership};
    use crate::auth::Allowed;
    use crate::transport::Reply;

    /// An answer to a request that was sent so many milliseconds after the write arrived.
    fn answer(
        from: UpstreamKind,
        kind: AnswerKind,
        after: u64,
        age: &str,
        status: &str,
    ) -> upstream::OriginAnswer {
        let header = |text: &str| HeaderValue::from_str(text).unwrap();
        let headers = [(AGE, header(age)), (CACHE_STATUS, header(status))];
        upstream::OriginAnswer {
            kind,
            reply: Reply {
                status: 200,
                headers: headers.into_iter().collect(),
                body: Bytes::new(),
                connection: crate::transport::Connection::default(),
            },
            sent: Instant::now() + Duration::from_millis(after),
            took: Duration::ZERO,
            received: jiff::Timestamp::UNIX_EPOCH,
            from,
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

    #[tokio::test(start_paused = true)]
    async fn a_parents_answer_must_be_from_after_the_write() {
        let own = "pai-image-gateway; fwd=request; stored";
        let joined = "pai-image-gateway; fwd=uri-miss; collapsed";
        let hit = "pai-image-gateway; hit; ttl=30";
        let failed = "pai-image-gateway; hit; ttl=-500; detail=origin-error";
        // The parent's own parent answered from memory.
        let above = "pai-image-gateway; hit; ttl=30, pai-image-gateway; fwd=request; stored";
        for (after, age, status, expected) in [
            (0, "0", own, true),
            (0, "0", "pai-image-gateway; fwd=uri-miss; stored", true),
            (0, "1", own, false),
            (0, "0", joined, false),
            (1100, "0", joined, true),
            (1100, "1", joined, false),
            (0, "0", hit, false),
            (1100, "0", hit, true),
            (1100, "1", hit, false),
            (2200, "1", hit, true),
            (2200, "600", failed, false),
            (0, "0", above, false),
            (2200, "7", above, false),
            (0, "", "", false),
        ] {
            let kind = image(Accessibility::Public);
            let answer = answer(UpstreamKind::Gateway, kind, after, age, status);
            let judged = is_from_after(Instant::now(), &answer);
            assert_eq!(judged, expected, "{after} {age} {status}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_hidden_image_is_denied_when_a_missing_one_is() {
        let grant = Grant {
            permissions: [].into(),
            workspaces: Allowed::Only(["1".into()].into()),
            users: Allowed::Only([].into()),
            official: false,
        };
        let judge = |from, kind, attempt| {
            let own = "pai-image-gateway; fwd=request; stored";
            let answer = answer(from, kind, 0, "0", own);
            judge(&answer, &grant, Instant::now(), attempt)
        };
        let missing = || AnswerKind::NotFound(OriginError::parse(404, b"{}"));
        for (from, attempt) in [(UpstreamKind::Api, 1), (UpstreamKind::Gateway, 2)] {
            let hidden = judge(from, image(Accessibility::Private), attempt);
            assert_eq!(hidden, WriteAccess::Hidden);
            let missing = judge(from, missing(), attempt);
            assert_eq!(missing, WriteAccess::Missing);
        }
        for kind in [image(Accessibility::Private), missing()] {
            assert_eq!(judge(UpstreamKind::Gateway, kind, 1), WriteAccess::Unknown);
        }
        for from in [UpstreamKind::Api, UpstreamKind::Gateway] {
            let seen = judge(from, image(Accessibility::Public), 1);
            assert_eq!(seen, WriteAccess::Granted);
        }
    }
}
