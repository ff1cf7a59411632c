//! Images by their URI: from the catalogue if it has every image that the client may see, else found by ListImages in
//! all workspaces, through the cache of lists.
//!
//! Several images may carry one URI. Each is authorized by itself; the newest that the client may see is the result,
//! with the members that the list has of it. A search costs one miss token, also when it is answered from memory and
//! the client may see nothing: it must not learn more cheaply that a hidden image exists.

use std::time::Duration;

use bytes::Bytes;
use jiff::Timestamp;
use tokio::time::Instant;

use super::ResolveJob;
use super::item::persist;
use crate::api::{ImageFields, ImageId, ImagePage, ImageUri, OriginError, parse_timestamp};
use crate::auth::{Allowed, Principal};
use crate::cache::Freshness;
use crate::cache::catalogue::Scope;
use crate::cache::lists::{ListKey, ListLookup};
use crate::gateway::Gateway;
use crate::gateway::context::FetchTerms;
use crate::gateway::lists::ServedList;
use crate::observability::outcome::Outcome;
use crate::response::{Error, ResolveResult, ResolvedItem};
use crate::upstream::UpstreamError;

/// Images on a page of a search.
const PAGE_SIZE: usize = 50;
/// Pages of a search that are read: of a URI that more than a thousand images carry, the oldest are left out.
const MAX_PAGES: usize = 20;

/// An image that carries the URI.
struct Carrier {
    id: ImageId,
    created: Option<Timestamp>,
    is_visible: bool,
    result: ResolveResult,
}

impl Gateway {
    /// Returns the images of a URI by the deadline.
    pub(super) async fn resolve_uri(&self, uri: &ImageUri, job: &ResolveJob) -> ResolvedItem {
        let terms = FetchTerms::batch(job.deadline);
        self.parts.cache.client_asks(uri.is_verbose());
        let carriers = match self.listed_carriers(uri, job) {
            Some(carriers) => Ok(carriers),
            None => self.carriers(uri, job, &terms).await,
        };
        let carriers = match carriers {
            Ok(carriers) => carriers,
            Err(error) => return self.failed(None, &error, job).into(),
        };
        let hidden = carriers.iter().find(|carrier| !carrier.is_visible);
        let hidden = hidden.map(|carrier| carrier.id.clone());
        let mut visible: Vec<_> = carriers.into_iter().filter(|one| one.is_visible).collect();
        // Of equal times the greater id, so that the result does not depend on the order of pages.
        visible.sort_by(|a, b| (b.created, b.id.as_str()).cmp(&(a.created, a.id.as_str())));
        let images = visible.iter().map(|carrier| carrier.id.clone()).collect();
        if let Some(newest) = visible.into_iter().next() {
            return ResolvedItem {
                images,
                result: newest.result,
            };
        }
        let pay = async || terms.charge.pay(&job.principal).map_err(Error::RateLimited);
        if let Err(error) = persist(job, pay).await {
            return self.failed(None, &error, job).into();
        }
        let outcome = if hidden.is_some() {
            Outcome::Denied
        } else {
            Outcome::Negative
        };
        self.failed(hidden.as_ref(), &self.unseen(outcome), job)
            .into()
    }

    /// Returns the images of a URI from the catalogue; `None` if it may lack one that the client may see.
    fn listed_carriers(&self, uri: &ImageUri, job: &ResolveJob) -> Option<Vec<Carrier>> {
        let (scopes, now) = (scopes_of(&job.principal)?, Instant::now());
        let listed = self.parts.cache.listed_by_uri(uri, &scopes, now)?;
        let carriers = listed.into_iter().map(|image| {
            let fields = ImageFields::parse(&image.item).ok()?;
            Some(Carrier::new(
                image.id,
                &fields,
                job,
                (image.item, image.age, now),
            ))
        });
        carriers.collect()
    }

    /// Finds the images of a URI, those that the client may not see included.
    async fn carriers(
        &self,
        uri: &ImageUri,
        job: &ResolveJob,
        terms: &FetchTerms,
    ) -> Result<Vec<Carrier>, Error> {
        let (mut found, mut read) = (Vec::<Carrier>::new(), 0);
        for page in 1..=MAX_PAGES {
            let call = uri.search(page, PAGE_SIZE);
            let ask = || self.search_page(call.clone(), job.fetch_context(terms));
            let served = persist(job, ask).await?;
            let (items, total, carriers) = on_page(&served, uri, job)
                .ok_or(UpstreamError::Unreadable(OriginError::default()))?;
            for carrier in carriers {
                // Pages shift while images are added, so that one may come twice.
                if found.iter().all(|known| known.id != carrier.id) {
                    found.push(carrier);
                }
            }
            read += items as u64;
            // The origin may give smaller pages than it was asked for.
            let is_last = total.map_or(items < PAGE_SIZE, |total| read >= total);
            if is_last || items == 0 {
                break;
            }
        }
        Ok(found)
    }

    /// Returns whether the first page of a search can be served from memory, or the catalogue has its images.
    pub(super) fn holds_search(&self, uri: &ImageUri, principal: &Principal, now: Instant) -> bool {
        let scopes = scopes_of(principal);
        if scopes.is_some_and(|scopes| self.parts.cache.listed_by_uri(uri, &scopes, now).is_some())
        {
            return true;
        }
        let key = ListKey::of(&uri.search(1, PAGE_SIZE));
        match self.parts.cache.look_up_list(&key, now) {
            ListLookup::Page(_, Freshness::Fresh | Freshness::StaleWhileRevalidate) => true,
            ListLookup::Page(..) | ListLookup::Miss => false,
        }
    }
}

impl Carrier {
    /// Creates the carrier of an item of this age.
    fn new(
        id: ImageId,
        fields: &ImageFields,
        job: &ResolveJob,
        (item, age, now): (Bytes, Duration, Instant),
    ) -> Self {
        Self {
            id,
            created: fields.created.as_deref().and_then(parse_timestamp),
            is_visible: job.principal.may_view(&fields.ownership),
            result: ResolveResult::listed(item, age, now),
        }
    }
}

/// Returns the scopes that have every image which a principal may see; `None` for one that sees any workspace.
fn scopes_of(principal: &Principal) -> Option<Vec<Scope>> {
    let grant = principal.grant()?;
    let Allowed::Only(workspaces) = &grant.workspaces else {
        return None;
    };
    let workspaces = workspaces.iter().map(|id| Scope::Workspace(id.to_string()));
    Some(
        workspaces
            .chain(grant.official.then_some(Scope::Official))
            .collect(),
    )
}

/// Returns the number of images on a page, that on all pages if it is told, and those of the page that carry exactly this
/// URI; `None` for a page that two parsers could read differently.
fn on_page(
    served: &ServedList,
    uri: &ImageUri,
    job: &ResolveJob,
) -> Option<(usize, Option<u64>, Vec<Carrier>)> {
    let body = &served.page.body;
    let (page, now) = (ImagePage::parse(body)?, Instant::now());
    let images = page.images;
    let mut carriers = Vec::new();
    for image in &images {
        let bytes: Bytes = body.slice_ref(image.get().as_bytes());
        let fields = ImageFields::parse(&bytes).ok()?;
        let id = fields.image.as_ref().and_then(|id| ImageId::parse(id).ok());
        let (Some(id), true) = (id, fields.uri.as_deref() == Some(uri.as_str())) else {
            continue;
        };
        carriers.push(Carrier::new(id, &fields, job, (bytes, served.age, now)));
    }
    Some((images.len(), page.total, carriers))
}
