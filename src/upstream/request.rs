//! What goes on the wire: built from nothing, and signed at its own moment with its own nonce.

use std::sync::Arc;

use bytes::Bytes;
use http::{Request, header};
use http_body_util::Full;

use super::{Origin, Propagation, Upstream, UpstreamError};
use crate::api::Call;
use crate::observability::traces::Trace;
use crate::signing::{self, Credentials, UnsignedRequest};
use crate::transport::{NewConnection, TransportError};

impl Upstream {
    /// The request of one attempt, signed, with its place in a trace and among parent gateways.
    pub(super) fn prepare(
        &self,
        call: &Call,
        body: Bytes,
        propagation: &Propagation,
        trace: &Trace,
        credentials: &Credentials,
    ) -> Result<Request<Full<Bytes>>, UpstreamError> {
        let sign = trace.span("sign");
        let mut request = self.signed(call, body, credentials)?;
        drop(sign);
        if call.operation.is_write() {
            // A pooled connection may be closed under it, and it must not be sent twice.
            request.extensions_mut().insert(NewConnection);
        }
        // Beside the signature: ACS3 covers the headers it lists, and this is none of them.
        trace.forward(request.headers_mut());
        self.write_parent_headers(propagation, request.headers_mut());
        Ok(request)
    }

    fn signed(
        &self,
        call: &Call,
        body: Bytes,
        credentials: &Credentials,
    ) -> Result<Request<Full<Bytes>>, UpstreamError> {
        let draft = UnsignedRequest {
            method: call.operation.method(),
            host: self.origin.host().to_owned(),
            path: call.operation.path(),
            query: call.query.canonical(),
            action: call.operation.action(),
            body,
        };
        let now = self.credentials.clock().now();
        let headers = signing::sign(&draft, credentials, now, &nonce());
        request(&self.origin, draft, headers)
            .map_err(|error| UpstreamError::Transport(Arc::new(error)))
    }
}

/// 128 random bits: no two requests of any replica share one.
fn nonce() -> String {
    let bits = fastrand::u128(..);
    format!("{bits:032x}")
}

/// Writes a signed draft as a request: its headers, and nothing else but how to answer it.
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
