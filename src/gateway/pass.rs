//! Operations that are handed to the origin and back.

use std::sync::Arc;

use bytes::Bytes;
use http_body::Body as HttpBody;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use tokio::time::timeout;

use super::{BoxError, Gateway, landing};
use crate::api::{Call, Malformed};
use crate::cache::{Scope, Thoroughness};
use crate::priority::{Priority, Urgency};
use crate::response::{Answer, Error};

impl Gateway {
    /// Asks the origin to search.
    pub(super) async fn read(&self, call: Call) -> Result<Answer, Error> {
        let _waiting = self.wait_in_line()?;
        landing::pass(
            self.upstream
                .send(&call, Bytes::new(), &Urgency::new(Priority::Miss))
                .await,
        )
    }

    /// Passes a write on, in a task of its own: once begun it is finished and its image forgotten,
    /// whatever comes of it and whoever still waits.
    pub(super) async fn write<B>(&self, call: Call, body: B) -> Result<Answer, Error>
    where
        B: HttpBody<Data = Bytes, Error: Into<BoxError>> + Send,
    {
        let _waiting = self.wait_in_line()?;
        let body = self.collect(body).await?;
        let (upstream, cache) = (Arc::clone(&self.upstream), Arc::clone(&self.cache));
        let task = self.tasks.spawn(async move {
            let answer = upstream
                .send(&call, body.clone(), &Urgency::new(Priority::Miss))
                .await;
            let replied = answer
                .as_ref()
                .map_or_else(|_| Bytes::new(), |answer| answer.reply.body.clone());
            for image in landing::images_written(&call.operation, &body, &replied) {
                let image = Scope::Image(image);
                cache.purge_for_good(&image, Thoroughness::Hard).await;
            }
            answer
        });
        landing::pass(task.await.map_err(|_| Error::Internal)?)
    }

    async fn collect<B>(&self, body: B) -> Result<Bytes, Error>
    where
        B: HttpBody<Data = Bytes, Error: Into<BoxError>> + Send,
    {
        let limit = self.config.max_body.0;
        let limited = Limited::new(body, usize::try_from(limit).unwrap_or(usize::MAX));
        match timeout(self.config.body_timeout.0, Box::pin(limited.collect())).await {
            Err(_) => Err(Error::BodyTooSlow),
            Ok(Ok(body)) => Ok(body.to_bytes()),
            Ok(Err(error)) if error.is::<LengthLimitError>() => Err(Error::BodyTooLong(limit)),
            Ok(Err(_)) => Err(Malformed::new("the body broke off").into()),
        }
    }
}
