//! HTTP/1.1: one request after the other, under the [`Guard`]'s time limits.

use std::convert::Infallible;
use std::sync::atomic::Ordering;

use http::{HeaderValue, Request, header};
use http_body::Body as _;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};

use super::connection_slots::ConnectionSlot;
use super::guard::{BodyLength, BufferLimits, ConnectionPhase, Guard, TimeLimits};
use super::{Server, Service, framing, is_authenticated};
use crate::body::Body;
use crate::peer::Peer;

impl<S: Service> Server<S> {
    /// Serves one connection until it ends, is evicted, or is drained.
    pub(super) async fn http1(
        &self,
        stream: impl AsyncRead + AsyncWrite + Unpin,
        peer: &Peer,
        slot: &ConnectionSlot,
    ) {
        let most = self.config.max_buffered_per_connection.0;
        let room = BufferLimits {
            budget: self.budget.clone(),
            most: usize::try_from(most).unwrap_or(usize::MAX),
        };
        let guard = Guard::new(stream, self.time_limits(), room);
        let phase = guard.phase();
        let service = service_fn(|request: Request<Incoming>| {
            let (mut head, mut body) = request.into_parts();
            let phase = &phase;
            async move {
                phase.request_begins(length_of(&body));
                slot.request_begins();
                let refused = framing::check(&head, &body).err();
                let mut response = match refused {
                    None => self.service.answer(&mut head, &mut body, peer).await,
                    Some(why) => self.service.refuse(&mut head, why, peer),
                };
                slot.request_ends(is_authenticated(&response));
                if refused.is_some() || self.closing.load(Ordering::Relaxed) {
                    response.headers_mut().insert(header::CONNECTION, CLOSE);
                }
                hand_over(response.body_mut(), phase);
                Ok::<_, Infallible>(response)
            }
        });
        let connection = http1::Builder::new()
            .max_buf_size(usize::try_from(self.config.max_head.0).unwrap_or(usize::MAX))
            // The guard does both time-outs, without a timer for each request.
            .header_read_timeout(None)
            // One buffer: to copy an image's few hundred bytes costs less than a second segment.
            .writev(false)
            .serve_connection(TokioIo::new(guard), service);
        let mut connection = std::pin::pin!(connection);
        let served = tokio::select! {
            biased;
            served = connection.as_mut() => served,
            () = self.close_token(slot).cancelled() => {
                if slot.is_evicted() {
                    return;
                }
                connection.as_mut().graceful_shutdown();
                connection.await
            }
        };
        if phase.was_tls_hello() {
            self.observer.tls_on_plain_port(peer);
        } else if let Err(error) = served {
            tracing::debug!(%error, "a connection ended early");
        }
    }

    fn time_limits(&self) -> TimeLimits {
        TimeLimits {
            head: self.config.head_timeout.0,
            idle: self.config.idle_timeout.0,
            write: self.write_limit(),
        }
    }
}

const CLOSE: HeaderValue = HeaderValue::from_static("close");

/// Tells the guard's phase when the response is complete, and what it must keep until that is written.
fn hand_over(body: &mut Body, phase: &ConnectionPhase) {
    match body {
        Body::Whole(_) => phase.request_ends(),
        Body::Charged(..) => {
            phase.reserve(body.take_charge());
            phase.request_ends();
        }
        // A connection with unfinished lines is not idle.
        Body::Lines(lines) => lines.retain(phase.serving()),
    }
}

fn length_of(body: &Incoming) -> BodyLength {
    match body.size_hint().exact() {
        _ if body.is_end_stream() => BodyLength::None,
        Some(length) => BodyLength::Known(length),
        None => BodyLength::Chunked,
    }
}
