//! Writes, which pass through to the origin and then invalidate the images that they name, and all lists.

use std::sync::Arc;

use bytes::Bytes;
use http_body::Body as HttpBody;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use tokio::time::{Instant, timeout};

use super::context::RequestContext;
use super::{BoxError, Gateway, ingest};
use crate::api::{Call, Malformed, check_keys};
use crate::cache::PurgeMode;
use crate::observability::outcome::Outcome;
use crate::response::{self, Answer, Error};
use crate::shared_cache;
use crate::upstream::priority::{Priority, SharedPriority};
use crate::upstream::{self, AnswerKind, Patience, UpstreamError};

impl Gateway {
    /// Sends a write to the origin, in a task of its own: once begun, it finishes and invalidates its image,
    /// whatever its result and even if the client disconnects.
    ///
    /// The client must be able to view the image as the origin has it now. A write costs one miss, however it
    /// ends.
    pub(super) async fn write<B>(
        &self,
        call: Call,
        body: B,
        context: &RequestContext<'_>,
    ) -> Result<Answer, Error>
    where
        B: HttpBody<Data = Bytes, Error: Into<BoxError>> + Send,
    {
        let propagation = self.parts.upstream.propagation(&context.head.headers)?;
        let propagation = propagation.by(context.principal.name());
        let _waiting = self.acquire_slot()?;
        let body = self.collect(body).await?;
        context.proof.check(&body)?;
        check_keys(call.operation.action(), &body)?;
        context
            .principal
            .try_acquire_miss()
            .map_err(Error::RateLimited)?;
        if let Some(grant) = context.principal.grant() {
            match call.operation.image() {
                Some(image) => {
                    let authorized = self.authorize_image(image, grant, context).await;
                    authorized.map_err(|refusal| refusal.into_error(self))?;
                }
                None => self.authorize_addition(grant, &body, context).await?,
            }
        }
        self.claim_write(context).await?;
        let about_one = call.operation.image().is_some();
        let (upstream, cache, shared) = (
            Arc::clone(&self.parts.upstream),
            Arc::clone(&self.parts.cache),
            self.parts.shared.clone(),
        );
        let trace = context.trace.clone();
        let patience = Patience::Request(Instant::now() + self.config.wait.0);
        let task = self.parts.tasks.spawn(async move {
            let priority = SharedPriority::new(Priority::Miss);
            let urgency = (&priority, patience);
            let sending = upstream.send(&call, body.clone(), urgency, &propagation, &trace);
            let answer = sending.await;
            let replied = answer
                .as_ref()
                .map_or_else(|_| Bytes::new(), |answer| answer.reply.body.clone());
            for target in ingest::targets_written(&call.operation, &body, &replied) {
                shared_cache::invalidate(shared.as_ref(), &cache, &target, PurgeMode::Hard).await;
            }
            answer
        });
        let answer = task.await.map_err(|_| Error::Internal)?;
        self.passed(answer, about_one, context)
            .map(response::passthrough)
    }

    /// Returns the origin's reply. If it denies the one image that the request names, an authenticated client
    /// gets the same 404 as for any other hidden image.
    fn passed(
        &self,
        answer: Result<upstream::OriginAnswer, UpstreamError>,
        about_one: bool,
        context: &RequestContext<'_>,
    ) -> Result<crate::transport::Reply, Error> {
        let upstream::OriginAnswer { kind, reply, .. } = answer?;
        match kind {
            AnswerKind::Success(_) => Ok(reply),
            AnswerKind::NotFound(_) | AnswerKind::Forbidden(_)
                if about_one && !context.principal.is_anonymous() =>
            {
                Err(self.unseen(Outcome::Passthrough))
            }
            AnswerKind::NotFound(error) | AnswerKind::Forbidden(error) => Err(Error::Origin(error)),
        }
    }

    pub(super) async fn collect<B>(&self, body: B) -> Result<Bytes, Error>
    where
        B: HttpBody<Data = Bytes, Error: Into<BoxError>> + Send,
    {
        let limit = self.config.max_body.0;
        // Its Content-Length, where there is one.
        if body.size_hint().lower() > limit {
            return Err(Error::BodyTooLong(limit));
        }
        let limited = Limited::new(body, usize::try_from(limit).unwrap_or(usize::MAX));
        match timeout(self.config.body_timeout.0, Box::pin(limited.collect())).await {
            Err(_) => Err(Error::BodyTooSlow),
            Ok(Ok(body)) => Ok(body.to_bytes()),
            Ok(Err(error)) if error.is::<LengthLimitError>() => Err(Error::BodyTooLong(limit)),
            Ok(Err(_)) => Err(Malformed::new("the body broke off").into()),
        }
    }
}
