//! One walk: the pages of one scope, asked for one after the other.

use bytes::Bytes;
use http::header;
use tokio::time::Instant;

use super::progress::{PageRead, WalkProgress, WalkStep};
use crate::api::{Call, ImagePage, Operation, OriginError};
use crate::cache::catalogue::{PageAnswer, PageOfWalk, PageRefused, Scope, WalkEnd};
use crate::gateway::Gateway;
use crate::observability::traces::SpanGuard;
use crate::response::X_ACS_REQUEST_ID;
use crate::shared_cache::{WalkLease, WalkResult};
use crate::upstream::priority::{Priority, SharedPriority};
use crate::upstream::{AnswerKind, OriginAnswer, Patience, Propagation, UpstreamError};

/// A walk to make.
#[derive(Debug)]
pub(super) struct Walk<'a> {
    /// Number of the scope.
    pub(super) number: usize,
    pub(super) scope: Scope,
    pub(super) verbose: bool,
    pub(super) page_size: u32,
    /// Lease of the fleet's walks, for which the pages are stored.
    pub(super) lease: Option<&'a WalkLease>,
}

/// Reason why a walk ended before its last page.
#[derive(Debug, thiserror::Error)]
pub(super) enum WalkError {
    /// The scope may not be listed.
    #[error("the origin denies the list: {0:?}")]
    Denied(OriginError),
    /// No answer came.
    #[error(transparent)]
    Failed(#[from] UpstreamError),
    /// A page is not one object with one list of images.
    #[error("a page of the list cannot be read")]
    NoPage,
    /// A page does nothing any more.
    #[error(transparent)]
    Refused(#[from] PageRefused),
}

/// Result of a walk that saw every page.
#[derive(Debug, Clone, Copy)]
pub(super) struct Walked {
    pub(super) number: u64,
    /// Time before its first page was asked for.
    pub(super) started: Instant,
    /// Images came or went meanwhile, so that another walk may see what this one has missed.
    pub(super) has_moved: bool,
    /// Items of a page, which may be fewer than were asked for.
    pub(super) page_size: u64,
}

impl Walk<'_> {
    /// Returns the token of the lease; without one, a random token.
    pub(super) fn token(&self) -> String {
        let drawn = || format!("{:032x}", fastrand::u128(..));
        self.lease
            .map_or_else(drawn, |lease| lease.token().to_owned())
    }

    /// Returns the call for a page.
    fn call(&self, (number, size): (u64, u64)) -> Call {
        let mut query = vec![
            self.scope.parameter(),
            ("SortBy", "GmtCreateTime".to_owned()),
            ("Order", "ASC".to_owned()),
            ("PageNumber", number.to_string()),
            ("PageSize", size.to_string()),
        ];
        if self.verbose {
            query.push(("Verbose", "true".to_owned()));
        }
        Call {
            operation: Operation::ListImages,
            query: query.into_iter().collect(),
        }
    }
}

impl Gateway {
    /// Reads every page of a scope, applies each as it comes, and shares them with the fleet.
    ///
    /// # Errors
    /// [`WalkError`] at the first page that does not come or cannot be read; the pages before it have acted.
    pub(super) async fn walk(&self, walk: &Walk<'_>) -> Result<Walked, WalkError> {
        let (cache, started) = (&self.parts.cache, Instant::now());
        let mut progress = WalkProgress::new(walk.page_size);
        let (number, mut is_stored) = (cache.begin_walk(), true);
        loop {
            let answer = self.page(&walk.call(progress.next_page())).await?;
            let page = ImagePage::parse(&answer.reply.body).ok_or(WalkError::NoPage)?;
            let came = page_answer(&answer, page.request_id.clone());
            let step = progress.read(self.apply(walk, number, came.clone(), page)?);
            self.fetch_stale_entries();
            if let (Some(shared), Some(lease)) = (&self.parts.shared, walk.lease) {
                let page = (&came, &answer.reply.body[..]);
                is_stored &= shared.put_page(lease, number, progress.pages(), page).await;
            }
            let WalkStep::Done { is_steady } = step else {
                continue;
            };
            let end = WalkEnd {
                scope: walk.number,
                verbose: walk.verbose,
                walk: number,
                started,
                pages: progress.pages(),
                is_steady,
            };
            cache.end_walk(end, Instant::now());
            if is_stored {
                self.announce(walk, &end).await;
            }
            return Ok(Walked {
                number,
                started,
                has_moved: progress.has_moved(),
                page_size: progress.page_size(),
            });
        }
    }

    /// Tells the fleet of a walk whose pages it has.
    async fn announce(&self, walk: &Walk<'_>, end: &WalkEnd) {
        if let (Some(shared), Some(lease)) = (&self.parts.shared, walk.lease) {
            let result = WalkResult::Whole {
                pages: end.pages,
                is_steady: end.is_steady,
            };
            let of = (end.walk, end.started);
            shared.announce_walk(lease, walk.number, of, result).await;
        }
    }

    /// Tells the fleet that a scope may not be listed, so that no other replica is denied it too.
    pub(super) async fn announce_denial(&self, walk: &Walk<'_>) {
        if let (Some(shared), Some(lease)) = (&self.parts.shared, walk.lease) {
            let of = (self.parts.cache.begin_walk(), Instant::now());
            shared
                .announce_walk(lease, walk.number, of, WalkResult::Denied)
                .await;
        }
    }

    async fn page(&self, call: &Call) -> Result<OriginAnswer, WalkError> {
        let priority = SharedPriority::new(Priority::Prewarm);
        let propagation = Propagation {
            no_cache: true,
            ..Propagation::default()
        };
        let urgency = (&priority, Patience::Fetch(None));
        let (upstream, untraced) = (&self.parts.upstream, SpanGuard::none());
        let sent = upstream.send(call, Bytes::new(), urgency, &propagation, &untraced);
        let answer = sent.await.map_err(|error| match error {
            UpstreamError::Permission(error) => WalkError::Denied(error),
            error => WalkError::Failed(error),
        })?;
        self.parts.metrics.catalogue.pages.inc();
        match &answer.kind {
            AnswerKind::Success(_) => Ok(answer),
            AnswerKind::NotFound(error) | AnswerKind::Forbidden(error) => {
                Err(WalkError::Denied(error.clone()))
            }
        }
    }

    fn apply(
        &self,
        walk: &Walk<'_>,
        number: u64,
        answer: PageAnswer,
        page: ImagePage<'_>,
    ) -> Result<PageRead, PageRefused> {
        let (items, total) = (page.images.len() as u64, page.total);
        let of_walk = PageOfWalk {
            scope: walk.number,
            verbose: walk.verbose,
            walk: number,
            answer,
            images: page.images,
        };
        let images = self.parts.cache.apply_page(of_walk, Instant::now())?;
        Ok(PageRead {
            images,
            items,
            total,
        })
    }
}

fn page_answer(answer: &OriginAnswer, request_id: Option<String>) -> PageAnswer {
    let reply = &answer.reply;
    PageAnswer {
        request_id,
        request_id_header: reply.headers.get(X_ACS_REQUEST_ID).cloned(),
        sent: answer.sent,
        took: answer.took,
        received: answer.received,
        date: reply.date(),
        cache_control: reply.list(header::CACHE_CONTROL.as_str()),
        upstream: answer.freshness,
    }
}
