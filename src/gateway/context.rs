//! A request's values, as the steps of its handling see them.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use http::HeaderMap;
use http::request::Parts;
use tokio::sync::SemaphorePermit;
use tokio::time::Instant;

use super::Gateway;
use super::exchange::Exchange;
use crate::auth::{Authenticated, BodyProof, Principal, WriteProof};
use crate::observability::traces::Trace;
use crate::response::Error;
use crate::upstream::priority::Priority;

/// An authenticated request without its body.
pub(super) struct RequestContext<'a> {
    pub(super) head: &'a Parts,
    pub(super) exchange: &'a Exchange<'a>,
    pub(super) principal: &'a Principal,
    /// The signature's claim about the body, to be checked once the body has been read.
    pub(super) proof: &'a BodyProof,
    /// The signature's nonce and date, for a signed write alone.
    pub(super) write: Option<&'a WriteProof>,
    pub(super) trace: &'a Trace,
}

/// The part of a request that looking up and fetching an image depends on.
#[derive(Clone, Copy)]
pub(super) struct FetchContext<'a> {
    pub(super) principal: &'a Principal,
    /// Arrival of the request; freshness and the time of a denial count from here.
    pub(super) at: Instant,
    pub(super) trace: &'a Trace,
    /// The request's headers, of which only `Via` is read.
    pub(super) headers: &'a HeaderMap,
    pub(super) terms: &'a FetchTerms,
}

/// Terms on which an image is fetched for a request; they differ between a GetImage and a Resolve.
pub(super) struct FetchTerms {
    /// Highest priority that the fetch may have.
    pub(super) max_priority: Priority,
    /// End of waiting where no stale image can be served; `None` for `api.wait` from the fetch's start.
    pub(super) deadline: Option<Instant>,
    pub(super) slot: Slot,
    pub(super) charge: MissCharge,
}

/// Source of the slot among the waiting requests, of which `max_in_flight` exist.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Slot {
    /// The fetch takes one and gives it back at its end.
    PerFetch,
    /// The request holds one already, for all of its images.
    HeldByRequest,
}

/// The price of an image: one token of the client's `misses_per_second`, however often it is tried.
#[derive(Default)]
pub(super) struct MissCharge {
    is_paid: AtomicBool,
}

impl<'a> RequestContext<'a> {
    pub(super) fn new(
        head: &'a Parts,
        exchange: &'a Exchange<'a>,
        client: &'a Authenticated,
        trace: &'a Trace,
    ) -> Self {
        Self {
            head,
            exchange,
            principal: &client.principal,
            proof: &client.body,
            write: client.write.as_deref(),
            trace,
        }
    }

    pub(super) const fn fetch_context(&self, terms: &'a FetchTerms) -> FetchContext<'a> {
        FetchContext {
            principal: self.principal,
            at: self.exchange.at,
            trace: self.trace,
            headers: &self.head.headers,
            terms,
        }
    }
}

impl FetchTerms {
    /// Returns the terms of a request for one image.
    pub(super) fn single() -> Self {
        Self {
            max_priority: Priority::Miss,
            deadline: None,
            slot: Slot::PerFetch,
            charge: MissCharge::default(),
        }
    }

    /// Returns the terms of one image of a Resolve: clients that wait for a single image go first.
    pub(super) fn batch(deadline: Instant) -> Self {
        Self {
            max_priority: Priority::Background,
            deadline: Some(deadline),
            slot: Slot::HeldByRequest,
            charge: MissCharge::default(),
        }
    }
}

impl FetchTerms {
    /// Returns whether the image is one of a Resolve.
    pub(super) fn is_batch(&self) -> bool {
        self.slot == Slot::HeldByRequest
    }
}

impl Slot {
    /// Takes a slot where the fetch needs one of its own.
    ///
    /// # Errors
    /// [`Error::Overloaded`] while `max_in_flight` requests wait.
    pub(super) fn acquire(self, gateway: &Gateway) -> Result<Option<SemaphorePermit<'_>>, Error> {
        match self {
            Self::PerFetch => gateway.acquire_slot().map(Some),
            Self::HeldByRequest => Ok(None),
        }
    }
}

impl MissCharge {
    /// Takes the token on the first call and nothing later.
    ///
    /// # Errors
    /// The time until the client has a token again.
    pub(super) fn pay(&self, principal: &Principal) -> Result<(), Duration> {
        // One task at a time pays, so that load and store need not be one step.
        if !self.is_paid.load(Ordering::Relaxed) {
            principal.try_acquire_miss()?;
            self.is_paid.store(true, Ordering::Relaxed);
        }
        Ok(())
    }
}
