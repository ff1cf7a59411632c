//! Operations that are handed to the origin and back.

use std::sync::Arc;

use bytes::Bytes;
use http_body::Body as HttpBody;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use tokio::time::timeout;

use super::demand::Demand;
use super::manner::Alone;
use super::{Asked, BoxError, Gateway, landing, search};
use crate::api::{Call, ImageFields, ImageId, ImageKey, Malformed, Operation, check_keys};
use crate::auth::Grant;
use crate::cache::{PurgeMode, PurgeTarget};
use crate::observability::outcome::Outcome;
use crate::priority::{Priority, SharedPriority};
use crate::response::{self, Answer, Error};
use crate::shared_cache;
use crate::upstream::{self, Said, UpstreamError};

impl Gateway {
    /// Asks the origin to search, within what the client may see.
    pub(super) async fn read(&self, mut call: Call, asked: &Asked<'_>) -> Result<Answer, Error> {
        let propagation = self.parts.upstream.propagation(&asked.head.headers)?;
        let propagation = propagation.by(asked.principal.name());
        let image = labelled_image(&call)?;
        let grant = asked.principal.grant();
        if let Some(grant) = grant {
            match (&image, &call.operation) {
                (Some(image), _) => self.must_see(image, asked).await?,
                (None, Operation::ListImages) => call.query = search::admit(grant, call.query)?,
                (None, _) => search::admit_labels(grant, &call.query)?,
            }
        }
        let _waiting = self.wait_in_line()?;
        asked
            .principal
            .try_acquire_miss()
            .map_err(Error::OverBudget)?;
        let answer = self
            .parts
            .upstream
            .send(
                &call,
                Bytes::new(),
                &SharedPriority::new(Priority::Miss),
                &propagation,
                asked.trace,
            )
            .await;
        let reply = self.passed(answer, image.is_some(), asked)?;
        if let (Operation::ListImages, Some(grant)) = (&call.operation, grant) {
            search::check(&reply.body, grant)?;
        }
        Ok(response::passed(reply))
    }

    /// Passes a write on, in a task of its own: once begun it is finished and its image forgotten,
    /// whatever comes of it and whoever still waits. The image must be one that the client may see as
    /// the origin has it now. A write costs one miss, however it ends.
    pub(super) async fn write<B>(
        &self,
        call: Call,
        body: B,
        asked: &Asked<'_>,
    ) -> Result<Answer, Error>
    where
        B: HttpBody<Data = Bytes, Error: Into<BoxError>> + Send,
    {
        let propagation = self.parts.upstream.propagation(&asked.head.headers)?;
        let propagation = propagation.by(asked.principal.name());
        let _waiting = self.wait_in_line()?;
        let body = self.collect(body).await?;
        asked.proof.check(&body)?;
        check_keys(call.operation.action(), &body)?;
        asked
            .principal
            .try_acquire_miss()
            .map_err(Error::OverBudget)?;
        if let Some(grant) = asked.principal.grant() {
            match call.operation.image() {
                Some(image) => self.must_see_now(image, grant, asked).await?,
                None => self.may_add(grant, &body, asked).await?,
            }
        }
        self.claim_write(asked).await?;
        let about_one = call.operation.image().is_some();
        let (upstream, cache, shared) = (
            Arc::clone(&self.parts.upstream),
            Arc::clone(&self.parts.cache),
            self.parts.shared.clone(),
        );
        let trace = asked.trace.clone();
        let task = self.parts.tasks.spawn(async move {
            let urgency = SharedPriority::new(Priority::Miss);
            let sending = upstream.send(&call, body.clone(), &urgency, &propagation, &trace);
            let answer = sending.await;
            let replied = answer
                .as_ref()
                .map_or_else(|_| Bytes::new(), |answer| answer.reply.body.clone());
            for image in landing::images_written(&call.operation, &body, &replied) {
                let image = PurgeTarget::Image(image);
                shared_cache::invalidate(shared.as_ref(), &cache, &image, PurgeMode::Hard).await;
            }
            answer
        });
        let answer = task.await.map_err(|_| Error::Internal)?;
        self.passed(answer, about_one, asked).map(response::passed)
    }

    /// What the origin answered; that it does not show the one image that was asked about is said as
    /// for any other that is not seen.
    fn passed(
        &self,
        answer: Result<upstream::OriginAnswer, UpstreamError>,
        about_one: bool,
        asked: &Asked<'_>,
    ) -> Result<crate::transport::Reply, Error> {
        let upstream::OriginAnswer { said, reply, .. } = answer?;
        match said {
            Said::Ok(_) => Ok(reply),
            Said::NotFound(_) | Said::Forbidden(_)
                if about_one && !asked.principal.is_anonymous() =>
            {
                Err(self.unseen(Outcome::Passthrough))
            }
            Said::NotFound(error) | Said::Forbidden(error) => Err(Error::Origin(error)),
        }
    }

    /// Lets on only who would be shown this image; fetched if need be.
    async fn must_see(&self, image: &ImageId, asked: &Asked<'_>) -> Result<(), Error> {
        let key = ImageKey {
            image: image.clone(),
            verbose: false,
        };
        self.get_image(
            &key,
            Demand::default(),
            asked.asker(),
            &Alone(asked.head, asked.id),
        )
        .await
        .map(drop)
    }

    /// Judges AddImage on the workspace its body names, and on the image, should it name one that there
    /// is already.
    async fn may_add(&self, grant: &Grant, body: &[u8], asked: &Asked<'_>) -> Result<(), Error> {
        let fields = ImageFields::parse(body)
            .map_err(|_| Malformed::new("the body must be one JSON object"))?;
        let workspace = fields.ownership.workspace.as_deref();
        if !workspace.map_or_else(
            || grant.workspaces == crate::auth::Allowed::All,
            |id| grant.workspaces.contains(id),
        ) {
            return Err(Error::Forbidden(
                "this client adds images to its own workspaces alone: name one as WorkspaceId",
            ));
        }
        let Some(image) = landing::chosen_id(body)? else {
            return Ok(());
        };
        match self.must_see_now(&image, grant, asked).await {
            Err(Error::Unseen { outcome, .. }) if outcome != Outcome::Denied => Ok(()),
            judged => judged,
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

/// The one image whose labels are asked for, if it is about one.
fn labelled_image(call: &Call) -> Result<Option<ImageId>, Error> {
    if call.operation != Operation::ListImageLabels {
        return Ok(None);
    }
    let image = call.query.value("ImageId").map(ImageId::parse);
    Ok(image.transpose()?)
}
