//! One walk: the pages of one scope, asked for one after the other.

use bytes::Bytes;
use http::header;
use tokio::time::Instant;

use super::progress::{PageRead, WalkProgress, WalkStep};
use crate::api::{Call, ImagePage, Operation, OriginError};
use crate::cache::catalogue::{PageAnswer, PageOfWalk, Scope, WalkEnd};
use crate::gateway::Gateway;
use crate::observability::traces::SpanGuard;
use crate::response::X_ACS_REQUEST_ID;
use crate::upstream::priority::{Priority, SharedPriority};
use crate::upstream::{AnswerKind, OriginAnswer, Patience, Propagation, UpstreamError};

/// A walk to make.
#[derive(Debug, Clone)]
pub(super) struct Walk {
    /// Number of the scope.
    pub(super) number: usize,
    pub(super) scope: Scope,
    pub(super) verbose: bool,
    pub(super) page_size: u32,
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
}

/// Result of a walk that saw every page.
#[derive(Debug, Clone, Copy)]
pub(super) struct Walked {
    /// No image can have been missed.
    pub(super) is_steady: bool,
    /// Items of a page, which may be fewer than were asked for.
    pub(super) page_size: u64,
}

impl Walk {
    /// Returns the call for a page.
    fn call(&self, (number, size): (u64, u64)) -> Call {
        let scope = match &self.scope {
            Scope::Workspace(id) => ("WorkspaceId", id.clone()),
            Scope::Official => ("Labels", "system.official=true".to_owned()),
        };
        let mut query = vec![
            scope,
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
    /// Reads every page of a scope, and applies each as it comes.
    ///
    /// # Errors
    /// [`WalkError`] at the first page that does not come or cannot be read; the pages before it have acted.
    pub(super) async fn walk(&self, walk: &Walk) -> Result<Walked, WalkError> {
        let (cache, started) = (&self.parts.cache, Instant::now());
        let mut progress = WalkProgress::new(walk.page_size);
        let number = cache.begin_walk();
        loop {
            let answer = self.page(&walk.call(progress.next_page())).await?;
            let page = self.apply(walk, number, &answer)?;
            self.fetch_stale_entries();
            let WalkStep::Done { is_steady } = progress.read(page) else {
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
            return Ok(Walked {
                is_steady,
                page_size: progress.page_size(),
            });
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
        walk: &Walk,
        number: u64,
        answer: &OriginAnswer,
    ) -> Result<PageRead, WalkError> {
        let reply = &answer.reply;
        let page = ImagePage::parse(&reply.body).ok_or(WalkError::NoPage)?;
        let (items, total) = (page.images.len() as u64, page.total);
        let of_walk = PageOfWalk {
            scope: walk.number,
            verbose: walk.verbose,
            walk: number,
            answer: PageAnswer {
                request_id: page.request_id,
                request_id_header: reply.headers.get(X_ACS_REQUEST_ID).cloned(),
                sent: answer.sent,
                took: answer.took,
                received: answer.received,
                date: reply.date(),
                cache_control: reply.list(header::CACHE_CONTROL.as_str()),
                upstream: answer.freshness,
            },
            images: page.images,
        };
        let images = self.parts.cache.apply_page(of_walk, Instant::now());
        Ok(PageRead {
            images,
            items,
            total,
        })
    }
}
