//! An image as a page of ListImages showed it.

use std::collections::HashMap;
use std::sync::{Arc, Weak};
use std::time::Duration;

use bytes::Bytes;
use compact_str::CompactString;
use http::HeaderValue;
use jiff::Timestamp;
use serde_json::value::RawValue;
use tokio::time::Instant;

use crate::api::{ImageFields, ImageId};
use crate::cache::answer_age::AnswerAge;
use crate::cache::entry::{Entry, FetchedImage};
use crate::cache::freshness::Evidence;
use crate::upstream::UpstreamFreshness;

/// The answer that brought a page: times and headers, which all of its items share.
#[derive(Debug, Clone)]
pub struct PageAnswer {
    /// The page's `RequestId`, which answers from its items have.
    pub request_id: Option<String>,
    /// `x-acs-request-id`.
    pub request_id_header: Option<HeaderValue>,
    /// Time at which its request was sent.
    pub sent: Instant,
    /// Time from the request to the whole answer.
    pub took: Duration,
    /// Wall-clock time of arrival.
    pub received: Timestamp,
    /// The origin's `Date`, if readable.
    pub date: Option<Timestamp>,
    /// The origin's `Cache-Control`; empty if it sent none.
    pub cache_control: String,
    /// Its age and bound at the cache that sent it.
    pub upstream: UpstreamFreshness,
}

/// Times of a page and of an entry compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Order {
    /// The entry's answer came before the page was asked for, so the page knows better.
    EntryFirst,
    /// Neither is known to be newer.
    Overlap,
    /// The entry was asked for after the page was complete, so the entry knows better.
    PageFirst,
}

impl PageAnswer {
    /// Returns the time at which the origin was asked: that of this gateway's request, less the initial age.
    pub(super) fn asked(&self) -> Instant {
        self.timing().origin_asked()
    }

    /// Returns the time at which the whole page was there.
    pub(super) fn complete(&self) -> Instant {
        self.sent + self.took
    }

    pub(in crate::cache) const fn timing(&self) -> AnswerAge {
        AnswerAge {
            sent: self.sent,
            upstream: self.upstream,
        }
    }

    /// Returns the time to measure an image's quiet time against, as for a fetched image.
    pub(in crate::cache) fn evidence_date(&self) -> Timestamp {
        let date = Evidence::date(self.date, self.received);
        date.checked_sub(self.upstream.initial_age())
            .unwrap_or(date)
    }

    /// Returns the order of this page and an entry whose answer was there at `answered`.
    pub(super) fn order(&self, entry: &Entry, answered: Instant) -> Order {
        if answered < self.asked() {
            Order::EntryFirst
        } else if entry.origin_asked() > self.complete() {
            Order::PageFirst
        } else {
            Order::Overlap
        }
    }
}

/// An item of a page: the newest that is known of its image.
#[derive(Debug, Clone)]
pub(super) struct Item {
    /// The object as it came, in memory of its own.
    pub(super) text: Bytes,
    pub(super) page: Arc<PageAnswer>,
    pub(super) uri: Option<Arc<str>>,
    /// Scope whose walk showed it last.
    pub(super) scope: usize,
    /// Number of that walk.
    pub(super) walk: u64,
    /// Entry that is known to agree with it.
    pub(super) bound: Weak<Entry>,
}

/// Memory of an item besides its text: itself, its key, its place in the index of URIs, and what it keeps of an entry
/// that is gone.
const OVERHEAD: u64 = 600;

impl Item {
    /// Returns the id of the image that an item is about; `None` for what is no image, or is ambiguous.
    pub(super) fn image(raw: &RawValue) -> Option<(ImageId, ImageFields)> {
        let fields = ImageFields::parse(raw.get().as_bytes()).ok()?;
        let id = ImageId::parse(fields.image.as_ref()?).ok()?;
        fields.present.is_image().then_some((id, fields))
    }

    /// Returns whether an answer can be made from the item: it has no RequestId of its own.
    pub(super) fn can_answer(&self) -> bool {
        serde_json::from_slice::<HashMap<String, &RawValue>>(&self.text)
            .is_ok_and(|members| !members.contains_key("RequestId"))
    }

    /// Returns the id of the image's workspace.
    pub(super) fn workspace(&self) -> Option<CompactString> {
        let fields = ImageFields::parse(&self.text).ok()?;
        fields.ownership.workspace
    }

    /// Makes the answer that a GetImage gets from this item: the page's RequestId, then the members as they came.
    pub(super) fn fetched(&self) -> Option<FetchedImage> {
        let page = &self.page;
        let members = self.text.strip_prefix(b"{")?;
        let mut body = b"{".to_vec();
        if let Some(id) = &page.request_id {
            body.extend(br#""RequestId":"#);
            serde_json::to_writer(&mut body, id).ok()?;
            body.push(b',');
        }
        body.extend(members);
        Some(FetchedImage {
            fields: ImageFields::parse(&body).ok()?,
            body: body.into(),
            request_id: page.request_id_header.clone(),
            sent: page.sent,
            took: page.took,
            received: page.received,
            date: page.date,
            cache_control: page.cache_control.clone(),
            upstream: page.upstream,
        })
    }

    /// Returns whether this very entry is bound to the item.
    pub(super) fn is_bound_to(&self, entry: &Arc<Entry>) -> bool {
        std::ptr::eq(self.bound.as_ptr(), Arc::as_ptr(entry))
    }

    /// Returns the time at which an entry's answer was there: that of the page, if the page renewed it or it was made
    /// from this item.
    pub(super) fn answered(&self, entry: &Arc<Entry>) -> Instant {
        if self.is_bound_to(entry) && entry.was_sent_at(self.page.sent) {
            self.page.complete()
        } else {
            entry.answered()
        }
    }

    /// Returns the memory that the item takes, in bytes.
    pub(super) fn weight(&self) -> u64 {
        self.text.len() as u64 + self.uri.as_ref().map_or(0, |uri| uri.len() as u64) + OVERHEAD
    }
}
