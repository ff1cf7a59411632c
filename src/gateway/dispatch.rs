//! From an authenticated request to the operation that answers it.

use bytes::Bytes;
use futures_util::future::BoxFuture;
use http_body::Body as HttpBody;

use super::context::{FetchTerms, RequestContext};
use super::directives::RequestDirectives;
use super::render::Single;
use super::{BoxError, Gateway};
use crate::api::{Call, ImageKey, Malformed, Operation, RouteError};
use crate::auth::{Permission, Principal};
use crate::response::{Answer, Error};

/// Reply to a request.
pub(super) enum Reply<'a> {
    /// Made from memory.
    Ready(Result<Answer, Error>),
    /// Made once something has been waited for. Boxed, so that the future of a hit stays small.
    Waiting(BoxFuture<'a, Result<Answer, Error>>),
}

impl Gateway {
    /// Charges the request to the client's rate, checks that the client may make it, and answers it.
    pub(super) fn dispatch<'a, B>(
        &'a self,
        call: &'a Result<Call, RouteError>,
        body: &'a mut B,
        context: &'a RequestContext<'a>,
    ) -> Reply<'a>
    where
        B: HttpBody<Data = Bytes, Error: Into<BoxError>> + Send + Unpin,
    {
        let call = match self.admit(call, body, context.principal) {
            Ok(call) => call,
            Err(error) => return Reply::Ready(Err(error)),
        };
        match &call.operation {
            Operation::GetImage(key) => self.image(key, context),
            Operation::ListImages | Operation::ListImageLabels => {
                Reply::Waiting(Box::pin(self.list(call.clone(), context)))
            }
            Operation::AddImage
            | Operation::AddImageLabels(_)
            | Operation::RemoveImageLabels(..)
            | Operation::PublishImage(_)
            | Operation::RemoveImage(_) => {
                Reply::Waiting(Box::pin(self.write(call.clone(), body, context)))
            }
            Operation::Resolve => Reply::Waiting(Box::pin(self.resolve(body, context))),
        }
    }

    /// Answers a GetImage: a hit at once.
    fn image<'a>(&'a self, key: &'a ImageKey, context: &'a RequestContext<'a>) -> Reply<'a> {
        let now = context.exchange.at;
        self.parts.top_images.record(&key.image, now);
        let directives = RequestDirectives::parse(&context.head.headers, context.principal);
        let lookup = self.look_up_asked(key, now);
        let terms = FetchTerms::single();
        let fetch_context = context.fetch_context(&terms);
        if let Some(answer) = self.hit(key, &lookup, directives, fetch_context, &Single(context)) {
            return Reply::Ready(Ok(answer));
        }
        Reply::Waiting(Box::pin(async move {
            let terms = FetchTerms::single();
            let fetch_context = context.fetch_context(&terms);
            self.get_otherwise(key, &lookup, directives, fetch_context, &Single(context))
                .await
        }))
    }

    /// Charges the request to the client's rate, and checks that the client may make it and that a read has no body.
    fn admit<'c, B: HttpBody>(
        &self,
        call: &'c Result<Call, RouteError>,
        body: &B,
        principal: &Principal,
    ) -> Result<&'c Call, Error> {
        principal
            .try_acquire_request()
            .map_err(Error::RateLimited)?;
        let call = call
            .as_ref()
            .map_err(|error| Error::RouteError(error.clone()))?;
        self.check_permission(call, principal)?;
        match call.operation {
            Operation::GetImage(_) | Operation::ListImages | Operation::ListImageLabels
                if !body.is_end_stream() =>
            {
                Err(Malformed::new("a GET or HEAD request has no body").into())
            }
            _ => Ok(call),
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
