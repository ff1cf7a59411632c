//! The catalogue's walker: it lists the images of each scope again and again, and fetches what turns out to be stale.
//!
//! One task walks all scopes one after the other, at the priority of a prewarm, from interval to interval. What a page
//! means is decided in [`cache::catalogue`](crate::cache::catalogue).

mod progress;
mod walk;

use std::sync::Arc;

use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use self::walk::{Walk, WalkError, Walked};
use super::Gateway;
use crate::api::ImageKey;
use crate::cache::catalogue::Scope;
use crate::error_chain::error_chain;
use crate::observability::logging::Condition;
use crate::observability::traces::SpanGuard;
use crate::upstream::Propagation;

/// Walks of a scope that are made at once while images come and go, so that none is missed.
const ATTEMPTS: u32 = 3;

/// The walker's memory between rounds.
struct Walker<'a> {
    gateway: &'a Gateway,
    /// Greatest page that the origin has shown to give.
    page_size: u32,
    /// Verbose of the last round.
    verboses: Vec<bool>,
    /// Comparisons were asked for in this round, by Verbose.
    has_compared: [bool; 2],
}

impl Gateway {
    /// Walks the catalogue until `stop`; returns at once if there is none.
    pub async fn walk_catalogue(self: Arc<Self>, stop: CancellationToken) {
        let Some(config) = self.parts.cache.catalogue_config() else {
            return;
        };
        let mut walker = Walker {
            gateway: &self,
            page_size: config.page_size,
            verboses: Vec::new(),
            has_compared: [false; 2],
        };
        let interval = config.interval.0;
        let walks = async {
            let mut next = Instant::now();
            loop {
                tokio::select! {
                    () = sleep_until(next) => {
                        // A round that takes longer than the interval is followed by the next one at once.
                        next = Instant::now() + interval;
                        walker.round().await;
                    }
                    () = self.parts.cache.catalogue_wakes() => walker.woken().await,
                }
            }
        };
        stop.run_until_cancelled(walks).await;
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
    /// Walks every scope with every Verbose that clients asked with lately.
    async fn round(&mut self) {
        let verboses = self.gateway.parts.cache.verboses_due(Instant::now());
        self.verboses.clone_from(&verboses);
        self.has_compared = [false; 2];
        self.walk_all(&verboses).await;
    }

    /// Fetches what became stale between two rounds, and walks a Verbose that a client asks with for the first time.
    async fn woken(&mut self) {
        self.gateway.fetch_stale_entries();
        let mut verboses = self.gateway.parts.cache.verboses_due(Instant::now());
        verboses.retain(|verbose| !self.verboses.contains(verbose));
        self.verboses.extend(&verboses);
        self.walk_all(&verboses).await;
    }

    async fn walk_all(&mut self, verboses: &[bool]) {
        for verbose in verboses {
            for (number, scope) in self.gateway.parts.cache.scopes_due(Instant::now()) {
                self.walk_scope(number, &scope, *verbose).await;
            }
            self.compare(*verbose);
        }
    }

    /// Walks a scope, again while images come and go, and reports how that went.
    async fn walk_scope(&mut self, number: usize, scope: &Scope, verbose: bool) {
        let parts = &self.gateway.parts;
        let mut result = self.walk_once(number, scope, verbose).await;
        for _ in 1..ATTEMPTS {
            if matches!(
                result,
                Ok(Walked {
                    is_steady: true,
                    ..
                }) | Err(_)
            ) {
                break;
            }
            result = self.walk_once(number, scope, verbose).await;
        }
        parts.metrics.catalogue.walks.of((&result).into()).inc();
        let (conditions, name) = (&parts.metrics.conditions, scope.name().to_owned());
        match result {
            Ok(_) => conditions.recovered(Condition::CatalogueWalkFails, name),
            Err(error) => {
                if let WalkError::Denied(_) = error {
                    parts.cache.pause_scope(number, Instant::now());
                }
                let detail = || error_chain(&error);
                conditions.occurred(Condition::CatalogueWalkFails, name, detail);
            }
        }
    }

    async fn walk_once(
        &mut self,
        number: usize,
        scope: &Scope,
        verbose: bool,
    ) -> Result<Walked, WalkError> {
        let walk = Walk {
            number,
            scope: scope.clone(),
            verbose,
            page_size: self.page_size,
        };
        let walked = self.gateway.walk(&walk).await?;
        if let Ok(given) = u32::try_from(walked.page_size)
            && given < self.page_size
        {
            tracing::warn!(
                asked = self.page_size,
                given,
                "the origin gives smaller pages than catalogue.page_size: walks ask for those from now on"
            );
            self.page_size = given;
        }
        Ok(walked)
    }

    /// Fetches images whose answers are compared with their items, once a round.
    fn compare(&mut self, verbose: bool) {
        let has_compared = &mut self.has_compared[usize::from(verbose)];
        if std::mem::replace(has_compared, true) {
            return;
        }
        for key in self.gateway.parts.cache.comparisons_due(verbose) {
            self.gateway.refresh(&key);
        }
    }
}
