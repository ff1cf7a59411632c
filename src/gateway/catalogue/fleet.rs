//! Walks of a fleet: one replica walks, and the others apply its pages to their own entries.

use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::{LastWalk, Walker};
use crate::api::ImagePage;
use crate::cache::catalogue::{PageOfWalk, PageRefused, Scope, WalkEnd};
use crate::gateway::Gateway;
use crate::observability::logging::Condition;
use crate::shared_cache::{SharedCache, SharedWalk, WalkClaim, WalkGroup, WalkName, WalkResult};

/// Longest time for which a replica waits for the shared cache before it walks alone.
const PATIENCE: Duration = Duration::from_secs(5);

impl Walker<'_> {
    /// Walks if this replica gets the fleet's lease. Without the shared cache it walks alone, after a while: a server
    /// that restarts must not have every replica of a large fleet walk.
    pub(super) async fn round_of_fleet(&mut self, shared: &SharedCache, verbose: bool) {
        let (begun, group) = (Instant::now(), self.group(verbose));
        let next = |walker: &mut Self, after: Duration| {
            walker.next[usize::from(verbose)] = Instant::now() + after;
        };
        let claim = shared.claim_walks(&group, self.interval).await;
        if !matches!(claim, WalkClaim::Unavailable) {
            self.unanswered = None;
        }
        let scopes = self.gateway.parts.cache.scopes_due(begun);
        match claim {
            WalkClaim::Granted(lease) => {
                let walks = self.walk_all(&scopes, verbose, Some(&lease));
                let all_came = shared.keep_walks(&lease, walks).await;
                shared.end_walks(lease, begun + self.interval).await;
                if !all_came {
                    // Another replica may fare better, so it gets the next turn.
                    next(self, self.interval.mul_f64(1.5));
                }
            }
            WalkClaim::Later(left) => {
                let spread = self.interval.mul_f64(fastrand::f64() * SPREAD);
                next(self, left.min(self.interval) + spread);
                self.catch_up(shared, &group, &scopes).await;
            }
            WalkClaim::Unavailable => {
                let patience = PATIENCE.min(self.interval / 4);
                if self.unanswered.get_or_insert(begun).elapsed() < patience {
                    next(self, patience);
                } else {
                    self.walk_all(&scopes, verbose, None).await;
                }
            }
        }
    }

    /// Applies walks whose announcements did not arrive, and walks the scopes of which none has come for two intervals,
    /// whatever the reason: the server's clock was set back, another replica announces nothing, or no page can be read.
    async fn catch_up(
        &mut self,
        shared: &SharedCache,
        group: &WalkGroup,
        scopes: &[(usize, Scope)],
    ) {
        let began = self.began;
        let age = |walker: &Self, scope: usize| {
            let last = walker.last.get(&(scope, group.verbose));
            last.map_or(began, |last| last.started).elapsed()
        };
        for (scope, _) in scopes {
            if age(self, *scope) >= self.interval {
                let (group, scope) = (group.clone(), *scope);
                self.apply_latest(shared, &WalkName { group, scope }).await;
            }
        }
        let missing = |(scope, _): &&(usize, Scope)| age(self, *scope) >= self.interval * 2;
        let missing: Vec<_> = scopes.iter().filter(missing).cloned().collect();
        if !missing.is_empty() {
            self.next[usize::from(group.verbose)] = Instant::now() + self.interval;
            self.walk_all(&missing, group.verbose, None).await;
        }
    }

    fn group(&self, verbose: bool) -> WalkGroup {
        let config = self.gateway.parts.cache.catalogue_config();
        let scopes = config.into_iter().flat_map(|config| config.scopes());
        WalkGroup::new(scopes, self.interval, verbose)
    }

    /// Applies a walk that another replica has announced, if it is about this replica's scopes.
    pub(super) async fn apply_announced(&mut self, name: &WalkName) {
        if let Some(shared) = self.gateway.parts.shared.clone()
            && name.group == self.group(name.group.verbose)
        {
            self.apply_latest(&shared, name).await;
        }
    }

    async fn apply_latest(&mut self, shared: &SharedCache, name: &WalkName) {
        let key = (name.scope, name.group.verbose);
        for _ in 0..ATTEMPTS {
            let Some(walk) = shared.latest_walk(name).await else {
                return;
            };
            let (token, number) = walk.identity();
            let identity = (token.to_owned(), number);
            let is_known =
                |known: &LastWalk| known.identity == identity || walk.started <= known.started;
            if self.last.get(&key).is_some_and(is_known) {
                return;
            }
            match self.gateway.apply_walk(shared, &walk).await {
                Ok(()) => {
                    let started = walk.started;
                    self.last.insert(
                        key,
                        LastWalk {
                            identity: identity.clone(),
                            started,
                        },
                    );
                    return self.compare_after(key, &identity);
                }
                Err(NotApplied::Unread) => sleep(RETRY).await,
                Err(NotApplied::Void) => return,
            }
        }
    }

    fn compare_after(&self, (scope, verbose): (usize, bool), walk: &(String, u64)) {
        let scopes = self.gateway.parts.cache.scopes_due(Instant::now());
        if scopes.last().is_some_and(|(last, _)| *last == scope) {
            self.compare(verbose, Some(walk));
        }
    }
}

/// Reason why another replica's walk was not applied.
enum NotApplied {
    /// A page could not be read.
    Unread,
    /// It does not act here: it may have missed an invalidation, its scope is paused, or nothing was listed.
    Void,
}

impl From<PageRefused> for NotApplied {
    fn from(_: PageRefused) -> Self {
        Self::Void
    }
}

impl Gateway {
    /// Applies the pages of another replica's walk.
    async fn apply_walk(&self, shared: &SharedCache, walk: &SharedWalk) -> Result<(), NotApplied> {
        let (cache, name) = (&self.parts.cache, walk.name());
        let (scope, verbose) = (name.scope, name.group.verbose);
        let due = cache.scopes_due(Instant::now());
        let listed = due.into_iter().find(|(number, _)| *number == scope);
        let (_, listed) = listed.ok_or(NotApplied::Void)?;
        let WalkResult::Whole { pages, is_steady } = walk.result() else {
            cache.pause_scope(scope, Instant::now());
            return Err(NotApplied::Void);
        };
        let (number, mut unread) = (cache.begin_walk(), false);
        for page in 1..=pages {
            let Some((answer, body)) = shared.read_page(walk, page).await else {
                unread = true;
                continue;
            };
            let page = ImagePage::parse(&body).ok_or(NotApplied::Void)?;
            let page = PageOfWalk {
                scope,
                verbose,
                walk: number,
                answer,
                images: page.images,
            };
            cache.apply_page(page, Instant::now())?;
            self.fetch_stale_entries();
        }
        if unread {
            return Err(NotApplied::Unread);
        }
        let end = WalkEnd {
            scope,
            verbose,
            walk: number,
            started: walk.started,
            pages,
            is_steady,
        };
        cache.end_walk(end, Instant::now());
        self.parts.metrics.catalogue.shared_walks.inc();
        let conditions = &self.parts.metrics.conditions;
        conditions.recovered(Condition::CatalogueWalkFails, listed.name().to_owned());
        Ok(())
    }
}

/// Part of the interval over which the replicas of a fleet spread their claims.
const SPREAD: f64 = 0.05;
/// Attempts to read the pages of a walk, and the pause between two of them.
const ATTEMPTS: u32 = 3;
const RETRY: Duration = Duration::from_millis(200);
