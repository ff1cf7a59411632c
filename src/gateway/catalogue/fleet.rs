//! Walks of a fleet: one replica walks, and the others apply its pages to their own entries.

use std::time::Duration;

use tokio::time::Instant;

use super::{LastWalk, Walker};
use crate::api::ImagePage;
use crate::cache::catalogue::{PageOfWalk, Scope, WalkEnd};
use crate::gateway::Gateway;
use crate::observability::logging::Condition;
use crate::shared_cache::{SharedCache, SharedWalk, WalkClaim, WalkGroup, WalkName};

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
        match claim {
            WalkClaim::Granted(lease) => {
                let walks = self.walk_all(verbose, Some(&lease));
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
                self.apply_missed(shared, &group).await;
            }
            WalkClaim::Unavailable => {
                let patience = PATIENCE.min(self.interval / 4);
                if self.unanswered.get_or_insert(begun).elapsed() < patience {
                    next(self, patience);
                } else {
                    self.walk_all(verbose, None).await;
                }
            }
        }
    }

    fn group(&self, verbose: bool) -> WalkGroup {
        let config = self.gateway.parts.cache.catalogue_config();
        let scopes = config.into_iter().flat_map(|config| config.scopes());
        WalkGroup::new(scopes, verbose)
    }

    /// Applies a walk that another replica has announced, if it is about this replica's scopes.
    pub(super) async fn apply_announced(&mut self, name: &WalkName) {
        if let Some(shared) = self.gateway.parts.shared.clone()
            && name.group == self.group(name.group.verbose)
        {
            self.apply_latest(&shared, name).await;
        }
    }

    /// Applies walks whose announcements did not arrive.
    async fn apply_missed(&mut self, shared: &SharedCache, group: &WalkGroup) {
        for (scope, _) in self.gateway.parts.cache.scopes_due(Instant::now()) {
            let last = self.last.get(&(scope, group.verbose));
            if last.is_some_and(|last| last.at.elapsed() < self.interval) {
                continue;
            }
            let group = group.clone();
            self.apply_latest(shared, &WalkName { group, scope }).await;
        }
    }

    async fn apply_latest(&mut self, shared: &SharedCache, name: &WalkName) {
        let (number, verbose) = (name.scope, name.group.verbose);
        let Some(walk) = shared.latest_walk(name).await else {
            return;
        };
        let (token, of) = walk.identity();
        let identity = (token.to_owned(), of);
        let known = self.last.get(&(number, verbose));
        if known.is_some_and(|known| known.identity == identity) {
            return;
        }
        let last = LastWalk {
            identity: identity.clone(),
            at: Instant::now(),
        };
        self.last.insert((number, verbose), last);
        if self.gateway.apply_walk(shared, &walk).await.is_none() {
            return;
        }
        let scopes = self.gateway.parts.cache.scopes_due(Instant::now());
        if scopes.last().is_some_and(|(last, _)| *last == number) {
            self.compare(verbose, Some(&identity));
        }
    }
}

impl Gateway {
    /// Applies the pages of another replica's walk; `None` if one of them is missing, or may have missed an
    /// invalidation.
    async fn apply_walk(&self, shared: &SharedCache, walk: &SharedWalk) -> Option<()> {
        let (cache, name) = (&self.parts.cache, walk.name());
        let (scope, verbose) = (name.scope, name.group.verbose);
        let scopes = cache.catalogue_config()?.scopes();
        let listed: Scope = scopes.into_iter().nth(scope)?;
        if !cache.is_current(walk.started) {
            return None;
        }
        let number = cache.begin_walk();
        for page in 1..=walk.pages() {
            let (answer, body) = shared.read_page(walk, page).await?;
            let images = ImagePage::parse(&body)?.images;
            let page = PageOfWalk {
                scope,
                verbose,
                walk: number,
                answer,
                images,
            };
            cache.apply_page(page, Instant::now());
            self.fetch_stale_entries();
        }
        let end = WalkEnd {
            scope,
            verbose,
            walk: number,
            started: walk.started,
            pages: walk.pages(),
            is_steady: walk.is_steady(),
        };
        cache.end_walk(end, Instant::now());
        self.parts.metrics.catalogue.shared_walks.inc();
        let conditions = &self.parts.metrics.conditions;
        conditions.recovered(Condition::CatalogueWalkFails, listed.name().to_owned());
        Some(())
    }
}

/// Part of the interval over which the replicas of a fleet spread their claims.
const SPREAD: f64 = 0.05;
