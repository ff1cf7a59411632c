//! The request of an attempt, built from nothing and signed with a date and a nonce of its own.

use std::sync::Arc;

use bytes::Bytes;
use http::{Request, header};
use http_body_util::Full;

use super::{Origin, Propagation, Upstream, UpstreamError};
use crate::api::{self, Call};
use crate::observability::traces::Trace;
use crate::signing::{Identity, UnsignedRequest};
use crate::transport::{NewConnection, TransportError};

impl Upstream {
    /// Builds and signs the request of one attempt, with its trace context and the headers for a parent gateway.
    pub(super) fn prepare(
        &self,
        call: &Call,
        body: Bytes,
        propagation: &Propagation,
        trace: &Trace,
        identity: &Identity,
    ) -> Result<Request<Full<Bytes>>, UpstreamError> {
        let sign = trace.span("sign");
        let mut request = self.signed(call, body, identity)?;
        drop(sign);
        if call.operation.is_write() {
            // The origin may close a pooled connection while the write is under way, and a write is never sent twice.
            request.extensions_mut().insert(NewConnection);
        }
        // After signing: ACS3 covers only the headers that it lists, and these are not among them.
        trace.forward(request.headers_mut());
        self.write_parent_headers(propagation, request.headers_mut());
        Ok(request)
    }

    fn signed(
        &self,
        call: &Call,
        body: Bytes,
        identity: &Identity,
    ) -> Result<Request<Full<Bytes>>, UpstreamError> {
        let draft = UnsignedRequest {
            method: call.operation.method(),
            host: self.origin.host().to_owned(),
            path: call.operation.path(),
            query: call.query.canonical(),
            action: call.operation.action().as_str(),
            version: api::VERSION,
            body,
        };
        let now = self.credentials.clock().now();
        let headers = identity.headers(&draft, now, &nonce());
        request(&self.origin, draft, headers)
            .map_err(|error| UpstreamError::Transport(Arc::new(error)))
    }
}

/// Draws 128 random bits, so that no two requests of any replica share a nonce.
fn nonce() -> String {
    let bits = fastrand::u128(..);
    format!("{bits:032x}")
}

/// Converts a signed draft into a request with its signed headers, `accept`, `accept-encoding` and `user-agent`.
fn request(
    origin: &Origin,
    draft: UnsignedRequest,
    headers: Vec<(&'static str, String)>,
) -> Result<Request<Full<Bytes>>, TransportError> {
    let mut request = Request::builder()
        .method(draft.method)
        .uri(origin.uri(&draft.path, &draft.query)?);
    for (name, value) in headers {
        request = request.header(name, value);
    }
    request = request
        .header(header::ACCEPT, "application/json")
        .header(header::ACCEPT_ENCODING, "identity")
        .header(
            header::USER_AGENT,
            concat!("pai-image-gateway/", env!("CARGO_PKG_VERSION")),
        );
    Ok(request.body(Full::new(draft.body))?)
}
