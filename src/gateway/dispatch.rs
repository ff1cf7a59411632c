//! From an authenticated request to the operation that answers it.

use bytes::Bytes;
use http_body::Body as HttpBody;

use super::context::{FetchTerms, RequestContext};
use super::directives::RequestDirectives;
use super::render::Single;
use super::{BoxError, Gateway};
use crate::api::{Call, Malformed, Operation, RouteError};
use crate::auth::{Permission, Principal};
use crate::response::{Answer, Error};

impl Gateway {
    /// Charges the request to the client's rate, checks that the client may make it, and answers it.
    ///
    /// Everything but a GetImage is boxed, so that the future of a hit stays small.
    pub(super) async fn dispatch<B>(
        &self,
        call: Result<Call, RouteError>,
        body: B,
        context: &RequestContext<'_>,
    ) -> Result<Answer, Error>
    where
        B: HttpBody<Data = Bytes, Error: Into<BoxError>> + Send,
    {
        let principal = context.principal;
        principal
            .try_acquire_request()
            .map_err(Error::RateLimited)?;
        let call = call.map_err(Error::RouteError)?;
        self.check_permission(&call, principal)?;
        match &call.operation {
            Operation::GetImage(key) => {
                refuse_body(&body)?;
                self.parts
                    .top_images
                    .record(&key.image, context.exchange.at);
                let directives = RequestDirectives::parse(&context.head.headers, principal);
                let (terms, render) = (FetchTerms::single(), Single(context));
                let fetch_context = context.fetch_context(&terms);
                self.get_image(key, directives, fetch_context, &render)
                    .await
            }
            Operation::ListImages | Operation::ListImageLabels => {
                refuse_body(&body)?;
                Box::pin(self.list(call, context)).await
            }
            Operation::AddImage
            | Operation::AddImageLabels(_)
            | Operation::RemoveImageLabels(..)
            | Operation::PublishImage(_)
            | Operation::RemoveImage(_) => Box::pin(self.write(call, body, context)).await,
            Operation::Resolve => Box::pin(self.resolve(body, context)).await,
        }
    }

    /// Checks that the operation is switched on and granted, before any lookup.
    fn check_permission(&self, call: &Call, principal: &Principal) -> Result<(), Error> {
        if call.operation.is_write() && !self.config.writes {
            Err(Error::WritesDisabled)
        } else if principal.may(Permission::of(&call.operation, &call.query)) {
            Ok(())
        } else {
            Err(Error::Forbidden(
                "this client was not granted this operation",
            ))
        }
    }
}

fn refuse_body<B: HttpBody>(body: &B) -> Result<(), Error> {
    if body.is_end_stream() {
        Ok(())
    } else {
        Err(Malformed::new("a GET or HEAD request has no body").into())
    }
}
