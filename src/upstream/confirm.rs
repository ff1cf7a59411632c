//! A second opinion on an answer that names another image than the one asked for.
//!
//! On a connection that others use too, it is likely the answer to somebody else's request: a proxy on the way sent one
//! answer too many. So the connection is closed and the image is asked for once more on a connection of its own, where
//! no other answer can come. An origin that names the same image there again means it, and its answer counts.

use bytes::Bytes;
use tokio::time::{Instant, timeout_at};
use tower::ServiceExt;

use super::classify::another_image;
use super::{Propagation, Upstream, Verdict};
use crate::api::{Call, ImageFields};
use crate::observability::traces::Trace;
use crate::signing::Credentials;
use crate::transport::{NewConnection, Reply};

impl Upstream {
    /// Judges an answer; asks once more, until `deadline`, where it names another image.
    pub(super) async fn confirm(
        &self,
        asked: (&Call, &Propagation, &Credentials),
        reply: Reply,
        deadline: Instant,
        trace: &Trace,
    ) -> (Verdict, Reply) {
        let (call, _, credentials) = asked;
        let verdict = self.classify(call, &reply, credentials);
        if verdict != Verdict::Unreadable {
            return (verdict, reply);
        }
        let Some(first) = another_image(&call.operation, &reply) else {
            return (verdict, reply);
        };
        let again = timeout_at(deadline, self.send_on_new_connection(asked, trace)).await;
        let Ok(Some(second)) = again else {
            return (verdict, reply);
        };
        let is_same = |fields: &ImageFields| fields.image == first.image;
        let verdict = match another_image(&call.operation, &second).filter(is_same) {
            Some(fields) => Verdict::Ok(fields),
            None => self.classify(call, &second, credentials),
        };
        (verdict, second)
    }

    /// Asks on a new connection, signed anew. `None` where that brings no answer.
    async fn send_on_new_connection(
        &self,
        (call, propagation, credentials): (&Call, &Propagation, &Credentials),
        trace: &Trace,
    ) -> Option<Reply> {
        self.metrics.upstream_resends.inc();
        let prepared = self.prepare(call, Bytes::new(), propagation, trace, credentials);
        let mut request = prepared.ok()?;
        request.extensions_mut().insert(NewConnection);
        self.transport.clone().oneshot(request).await.ok()
    }
}
