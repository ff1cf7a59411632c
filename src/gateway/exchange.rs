//! One request and its response: its id, and the response's cost, count and record.

use std::mem;

use http::request::Parts;
use http::uri::Authority;
use http::{Response, header};
use tokio::time::Instant;

use super::request_id::RequestId;
use super::{Gateway, UNAUTHENTICATED};
use crate::api::{Action, Call, ImageId, RouteError};
use crate::auth::Principal;
use crate::body::Body;
use crate::observability::audit::AccessRecord;
use crate::observability::outcome::Outcome;
use crate::observability::traces::Trace;
use crate::peer::Peer;
use crate::response::{self, Answer, CacheStatus, Error};
use crate::server::Unauthenticated;

/// A request's identity, known before it is authenticated.
pub(super) struct Exchange<'a> {
    pub(super) at: Instant,
    pub(super) id: RequestId,
    pub(super) action: Action,
    /// The image in the request's path, if the request is recorded.
    image: Option<ImageId>,
    pub(super) peer: &'a Peer,
    /// Reason of a failed authentication, for the records.
    pub(super) refused: Option<&'static str>,
}

impl<'a> Exchange<'a> {
    pub(super) fn new(
        gateway: &Gateway,
        call: &Result<Call, RouteError>,
        at: Instant,
        peer: &'a Peer,
    ) -> Self {
        let recorded = call.as_ref().ok().filter(|_| gateway.records_access);
        Self {
            at,
            id: RequestId::new(),
            action: call
                .as_ref()
                .map_or_else(RouteError::action, |call| call.operation.action()),
            image: recorded.and_then(|call| call.operation.image().cloned()),
            peer,
            refused: None,
        }
    }
}

impl Gateway {
    /// Turns a reply into the response: charges its body, counts it, records it and sets its headers.
    pub(super) fn respond(
        &self,
        exchange: &Exchange<'_>,
        head: &mut Parts,
        principal: Option<&Principal>,
        span: &Trace,
        reply: Result<Answer, Error>,
    ) -> Response<Body> {
        let id = exchange.id.text();
        let failure = |error| response::failure(&error, id.as_str(), host_of(head));
        let mut answer = reply.unwrap_or_else(failure);
        if let Err(error) = self.charge(&mut answer.body, exchange.action) {
            answer = failure(error);
        }
        self.count(exchange, answer.outcome, principal);
        if answer.outcome == Outcome::Stale
            && let Some(reason) = answer.cache_status.and_then(CacheStatus::stale_reason)
        {
            self.parts.metrics.stale_answers.of(reason).inc();
        }
        if self.records_access {
            let record = AccessRecord {
                client: principal.map_or(UNAUTHENTICATED, Principal::name),
                action: exchange.action,
                peer: exchange.peer,
                image: exchange.image.as_ref(),
                refused: exchange.refused,
                response: answer.summary(),
                request_id: id.as_str(),
            };
            self.record(&record, span, exchange.at.elapsed());
        }
        // The response reuses the room of the request's headers, which saves a hit an allocation.
        let mut response = answer.into_response(id.to_header(), mem::take(&mut head.headers));
        if principal.is_none() {
            response.extensions_mut().insert(Unauthenticated);
        }
        response
    }

    /// Charges a large body to the budget of unsent responses. Without room, a read gets 429; a write has
    /// been done, so its response goes out all the same.
    fn charge(&self, body: &mut Body, action: Action) -> Result<(), Error> {
        if let Some(length) = body.uncharged() {
            match self.parts.budget.try_charge(length) {
                Some(charge) => body.charge(charge),
                None if action.is_write() => {}
                None => return Err(Error::Overloaded),
            }
        }
        Ok(())
    }

    fn count(&self, exchange: &Exchange<'_>, outcome: Outcome, principal: Option<&Principal>) {
        let action = exchange.action;
        let metrics = &self.parts.metrics;
        metrics.answered(action, outcome, exchange.at.elapsed());
        let client = match principal {
            None => Some(&self.unauthenticated),
            Some(Principal::Anonymous) => Some(&self.anonymous),
            Some(Principal::Client(client)) => client.metrics(),
        };
        if let Some(client) = client {
            client.answered(outcome);
        }
        tracing::debug!(
            operation = action.as_str(),
            outcome = outcome.as_str(),
            client = principal.map(Principal::name),
            "answered"
        );
    }
}

/// Returns the host that the client addressed, for `HostId` of an error; empty without any.
pub(super) fn host_of(head: &Parts) -> &str {
    let named = head
        .headers
        .get(header::HOST)
        .and_then(|host| host.to_str().ok());
    named
        .or_else(|| head.uri.authority().map(Authority::as_str))
        .unwrap_or("")
}
