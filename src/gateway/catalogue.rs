//! The catalogue's walker: it lists the images of each scope again and again, and fetches what turns out to be stale.
//!
//! One task walks all scopes one after the other, at the priority of a prewarm, from interval to interval, for each
//! Verbose by itself. Where replicas share a cache, one of them walks, and the others apply its pages (`fleet`). What a
//! page means is decided in [`cache::catalogue`](crate::cache::catalogue).

mod fleet;
mod progress;
mod walk;

use std::collections::HashMap;
use std::future::pending;
use std::hash::{BuildHasher, BuildHasherDefault, DefaultHasher};
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use self::walk::{Walk, WalkError, Walked};
use super::Gateway;
use crate::api::ImageKey;
use crate::cache::catalogue::Scope;
use crate::error_chain::error_chain;
use crate::observability::logging::Condition;
use crate::observability::traces::SpanGuard;
use crate::shared_cache::{SharedCache, WalkLease, WalkName};
use crate::upstream::Propagation;

/// Walks of a scope that are made at once while images come and go, so that none is missed.
const ATTEMPTS: u32 = 3;

/// Time from a start to the first walk of a fleet: a page that was asked for before a replica has read the invalidation
/// log is of no use to it, and replicas start together.
const SETTLING: Duration = Duration::from_secs(1);

/// The walker's memory between rounds.
struct Walker<'a> {
    gateway: &'a Gateway,
    interval: Duration,
    /// Greatest page that the origin has shown to give.
    page_size: u32,
    /// Time of the next round, by Verbose.
    next: [Instant; 2],
    /// Last walk of each scope that has acted here.
    last: HashMap<(usize, bool), LastWalk>,
    /// Start of the walker.
    began: Instant,
    /// Time since which the shared cache has not answered a claim.
    unanswered: Option<Instant>,
}

/// A walk whose pages have been applied.
#[derive(Debug)]
struct LastWalk {
    /// Token of its lease, or one that was drawn for it, and its number at the replica that made it.
    identity: (String, u64),
    /// Time at which its first page was asked for.
    started: Instant,
}

impl Gateway {
    /// Walks the catalogue until `stop`; returns at once if there is none.
    pub async fn walk_catalogue(self: Arc<Self>, stop: CancellationToken) {
        let Some(config) = self.parts.cache.catalogue_config() else {
            return;
        };
        let settling = self
            .parts
            .shared
            .as_ref()
            .map_or(Duration::ZERO, |_| SETTLING);
        let mut walker = Walker {
            gateway: &self,
            interval: config.interval.0,
            page_size: config.page_size,
            next: [Instant::now() + settling; 2],
            last: HashMap::new(),
            began: Instant::now(),
            unanswered: None,
        };
        stop.run_until_cancelled(Box::pin(walker.run())).await;
    }

    /// Starts fetches of the entries that a page made stale, as background refreshes.
    fn fetch_stale_entries(&self) {
        for key in self.parts.cache.entries_to_fetch() {
            self.refresh(&key);
        }
    }

    /// Fetches an image in the background, whatever its freshness.
    fn refresh(&self, key: &ImageKey) {
        let lookup = self.parts.cache.look_up(key, Instant::now());
        self.start_refresh(key, &lookup, Propagation::default(), SpanGuard::none);
    }
}

impl Walker<'_> {
    async fn run(&mut self) {
        loop {
            let (at, verbose) = self.due();
            let (cache, shared) = (
                &self.gateway.parts.cache,
                self.gateway.parts.shared.as_ref(),
            );
            tokio::select! {
                () = sleep_until(at) => if let Some(verbose) = verbose {
                    self.round(verbose).await;
                },
                () = cache.catalogue_wakes() => self.gateway.fetch_stale_entries(),
                names = announced(shared) => for name in names {
                    self.apply_announced(&name).await;
                },
            }
        }
    }

    /// Returns the time of the next round and its Verbose: one that clients have asked with lately, if there is one.
    fn due(&self) -> (Instant, Option<bool>) {
        let now = Instant::now();
        let wanted = self.gateway.parts.cache.verboses_due(now);
        let rounds = wanted
            .into_iter()
            .map(|verbose| (self.next[usize::from(verbose)], Some(verbose)));
        rounds.min().unwrap_or((now + self.interval, None))
    }

    /// Walks every scope with a Verbose, or has another replica do so.
    async fn round(&mut self, verbose: bool) {
        // A round that takes longer than the interval is followed by the next one at once.
        self.next[usize::from(verbose)] = Instant::now() + self.interval;
        self.gateway.parts.cache.forget_clients(verbose);
        match self.gateway.parts.shared.clone() {
            Some(shared) => self.round_of_fleet(&shared, verbose).await,
            None => {
                let scopes = self.gateway.parts.cache.scopes_due(Instant::now());
                self.walk_all(&scopes, verbose, None).await;
            }
        }
    }

    /// Walks these scopes, with the fleet's lease if there is one. Returns whether all of them came.
    async fn walk_all(
        &mut self,
        scopes: &[(usize, Scope)],
        verbose: bool,
        lease: Option<&WalkLease>,
    ) -> bool {
        let mut all_came = true;
        for (number, scope) in scopes {
            all_came &= self.walk_scope((*number, scope), verbose, lease).await;
        }
        let last = scopes
            .last()
            .and_then(|(number, _)| self.last.get(&(*number, verbose)));
        self.compare(verbose, last.map(|last| &last.identity));
        all_came
    }

    /// Walks a scope, again while images come and go, and reports how that went.
    async fn walk_scope(
        &mut self,
        (number, scope): (usize, &Scope),
        verbose: bool,
        lease: Option<&WalkLease>,
    ) -> bool {
        let parts = &self.gateway.parts;
        let mut walk = Walk {
            number,
            scope: scope.clone(),
            verbose,
            page_size: self.page_size,
            lease,
        };
        let mut result = self.walk_once(&mut walk).await;
        for _ in 1..ATTEMPTS {
            if !result.as_ref().is_ok_and(|walked| walked.has_moved) {
                break;
            }
            result = self.walk_once(&mut walk).await;
        }
        parts.metrics.catalogue.walks.of((&result).into()).inc();
        let (conditions, name) = (&parts.metrics.conditions, scope.name().to_owned());
        match &result {
            Ok(_) => conditions.recovered(Condition::CatalogueWalkFails, name),
            Err(error) => {
                if let WalkError::Denied(_) = error {
                    parts.cache.pause_scope(number, Instant::now());
                    self.gateway.announce_denial(&walk).await;
                }
                let detail = || error_chain(error);
                conditions.occurred(Condition::CatalogueWalkFails, name, detail);
            }
        }
        result.is_ok()
    }

    async fn walk_once(&mut self, walk: &mut Walk<'_>) -> Result<Walked, WalkError> {
        let walked = self.gateway.walk(walk).await?;
        let last = LastWalk {
            identity: (walk.token(), walked.number),
            started: walked.started,
        };
        self.last.insert((walk.number, walk.verbose), last);
        if let Ok(given) = u32::try_from(walked.page_size)
            && given < walk.page_size
        {
            tracing::warn!(
                asked = walk.page_size,
                given,
                "the origin gives smaller pages than catalogue.page_size: walks ask for those from now on"
            );
            (self.page_size, walk.page_size) = (given, given);
        }
        Ok(walked)
    }

    /// Fetches images whose answers are compared with their items, after the walk of the last scope. All replicas draw
    /// the same ones for the same walk, so that a fleet fetches each once.
    fn compare(&self, verbose: bool, walk: Option<&(String, u64)>) {
        let hasher = BuildHasherDefault::<DefaultHasher>::default();
        let draw = |key: &ImageKey| hasher.hash_one((walk, key.image.as_str()));
        for key in self.gateway.parts.cache.comparisons_due(verbose, draw) {
            self.gateway.refresh(&key);
        }
    }
}

/// Waits for walks that other replicas have announced; for ever without a shared cache.
async fn announced(shared: Option<&Arc<SharedCache>>) -> Vec<WalkName> {
    match shared {
        Some(shared) => shared.walks_announced().await,
        None => pending().await,
    }
}
