//! Confirmation of a response that names another image than the one asked for.
//!
//! On a pooled connection it is likely the response to another request, because a proxy on the way sent one response
//! too many. So the connection is closed and the image is requested once more on a connection of its own, where no
//! other response can arrive. An origin that names the same image there again means it, and its answer counts.

use bytes::Bytes;
use tokio::time::{Instant, timeout_at};
use tower::ServiceExt;

use super::admission::CallPermit;
use super::classify::another_image;
use super::{AnswerKind, Propagation, Upstream, UpstreamError};
use crate::api::{Call, ImageFields};
use crate::observability::traces::Trace;
use crate::signing::Identity;
use crate::transport::{NewConnection, Reply};

/// Call with everything that its request is built and signed from.
pub(super) type SignedCall<'a> = (&'a Call, &'a Propagation, &'a Identity);

impl Upstream {
    /// Classifies a response; sends the call once more, until `deadline`, where the response names another image.
    pub(super) async fn confirm(
        &self,
        call: SignedCall<'_>,
        reply: Reply,
        permit: &mut CallPermit<'_>,
        deadline: Instant,
        trace: &Trace,
    ) -> (Result<AnswerKind, UpstreamError>, Reply) {
        let (asked, _, identity) = call;
        let result = self.classify(asked, &reply, identity);
        if !matches!(result, Err(UpstreamError::Unreadable(_))) {
            return (result, reply);
        }
        let Some(first) = another_image(&asked.operation, &reply) else {
            return (result, reply);
        };
        if !permit.take_another_slot(deadline).await {
            return (result, reply);
        }
        let again = timeout_at(deadline, self.send_on_new_connection(call, trace)).await;
        let Ok(Some(second)) = again else {
            return (result, reply);
        };
        let is_same = |fields: &ImageFields| fields.image == first.image;
        let result = match another_image(&asked.operation, &second).filter(is_same) {
            Some(fields) => Ok(AnswerKind::Success(fields)),
            None => self.classify(asked, &second, identity),
        };
        (result, second)
    }

    /// Sends the call, signed again, on a new connection. `None` where no response comes.
    async fn send_on_new_connection(
        &self,
        (call, propagation, identity): SignedCall<'_>,
        trace: &Trace,
    ) -> Option<Reply> {
        self.metrics.upstream_resends.inc();
        let prepared = self.prepare(call, Bytes::new(), propagation, trace, identity);
        let mut request = prepared.ok()?;
        request.extensions_mut().insert(NewConnection);
        self.transport.clone().oneshot(request).await.ok()
    }
}
