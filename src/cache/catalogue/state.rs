//! State of the catalogue: items, what is known about their truth, and the progress of each scope.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tokio::time::Instant;

use super::apply::WalkEnd;
use super::comparison::{DENIED, difference};
use super::config::{Config, Scope};
use super::fences::Fences;
use super::item::{Item, Order, PageAnswer};
use super::status::{CatalogueStatus, ScopeStatus};
use super::table::{ListedImage, Table};
use super::trust::Trust;
use crate::api::{ImageId, ImageKey};
use crate::cache::{Entry, Negative};

/// Time after a client's last request with a Verbose for which it is walked.
const LATELY: Duration = Duration::from_secs(600);
/// Pause before a scope is tried again that may not be listed, or has no room.
const PAUSE: Duration = Duration::from_secs(600);
/// Fetches that wait for the walker to start them.
const MAX_PENDING: usize = 10_000;

#[derive(Debug)]
pub(super) struct State {
    pub(super) table: Table,
    pub(super) fences: Fences,
    pub(super) trust: Trust,
    scopes: Vec<ScopeState>,
    /// Entries to fetch, which became stale.
    pending: Vec<ImageKey>,
    last_walk: u64,
    /// Time that the latest GetImage took, which a denial from an item takes, too.
    pub(super) fetch_took: Option<Duration>,
    /// Time of the latest request, by Verbose.
    asked_at: [Option<Instant>; 2],
    /// Time of the latest invalidation: a walk that began before it may lack an image.
    invalidated: Option<Instant>,
}

/// One scope and its last walk.
#[derive(Debug)]
struct ScopeState {
    scope: Scope,
    /// Beginning of the last whole walk, by Verbose, and its duration.
    whole: [Option<(Instant, Duration)>; 2],
    walked_at: Option<Timestamp>,
    pages: u64,
    paused_until: Option<Instant>,
    trouble: Option<&'static str>,
    /// Latest walk whose items were dropped for want of room: neither it nor one before it acts any more.
    last_dropped: u64,
}

/// Opinion of a page's item about the entry of its image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Nothing follows.
    Keep,
    /// Both agree: later pages may renew the entry.
    Bind,
    /// The item is as it was when the entry was bound to it.
    Renew,
    /// The image has changed since the entry's answer.
    Changed,
    /// Both differ, and neither is known to be newer.
    Unclear,
    /// The entry is newer, and differs in this member.
    Outdated(&'static str),
}

impl State {
    pub(super) fn new(config: &Config) -> Self {
        let scopes = config.scopes().map(|scope| ScopeState {
            scope,
            whole: [None; 2],
            walked_at: None,
            pages: 0,
            paused_until: None,
            trouble: None,
            last_dropped: 0,
        });
        Self {
            table: Table::default(),
            fences: Fences::default(),
            trust: Trust::default(),
            scopes: scopes.collect(),
            pending: Vec::new(),
            last_walk: 0,
            fetch_took: None,
            asked_at: [None; 2],
            invalidated: None,
        }
    }

    /// Judges what a page's item means for the entry of its image.
    pub(super) fn judge(
        &self,
        key: &ImageKey,
        entry: &Arc<Entry>,
        text: &[u8],
        page: &PageAnswer,
    ) -> Verdict {
        let known = self.table.get(key);
        let answered = known.map_or_else(|| entry.answered(), |item| item.answered(entry));
        let order = page.order(entry, answered);
        if known.is_some_and(|item| item.text == text && item.is_bound_to(entry)) {
            return if order == Order::EntryFirst {
                Verdict::Renew
            } else {
                Verdict::Keep
            };
        }
        let Some(field) = difference(text, &entry.body()) else {
            return Verdict::Bind;
        };
        match order {
            Order::PageFirst => Verdict::Outdated(field),
            Order::Overlap => Verdict::Unclear,
            // GetImage has said the same since the item began to differ, so the image has not changed.
            Order::EntryFirst if self.trust.is_known(key, text) => Verdict::Keep,
            Order::EntryFirst => Verdict::Changed,
        }
    }

    /// Returns whether a page may speak of an image: it was asked for after every invalidation, and is not older than
    /// the page of the item that is known.
    pub(super) fn admits(&self, key: &ImageKey, page: &PageAnswer) -> bool {
        let known = self.table.get(key);
        self.fences.admit(&key.image, page.asked())
            && known.is_none_or(|item| item.page.asked() <= page.asked())
    }

    /// Asks the walker to fetch an entry; beyond the bound, the entry's next request does.
    pub(super) fn fetch_later(&mut self, key: &ImageKey) {
        if self.pending.len() < MAX_PENDING {
            self.pending.push(key.clone());
        }
    }

    pub(super) const fn has_pending(&self) -> bool {
        !self.pending.is_empty()
    }

    pub(super) fn take_pending(&mut self) -> Vec<ImageKey> {
        std::mem::take(&mut self.pending)
    }

    /// Lets the item of an image answer no more, because GetImage's answer of this time, which is newer, differs from it.
    pub(super) fn suspend(&mut self, key: &ImageKey, field: &'static str, since: Instant) {
        self.table.unbind(key);
        let Some(item) = self.table.get(key) else {
            return;
        };
        if !self.trust.differs(key, field, &item.text, since) {
            self.table.remove(key);
        }
    }

    /// Drops an image's items because of an invalidation.
    pub(super) fn drop_image(&mut self, image: &ImageId, now: Instant) {
        for key in ImageKey::variants(image) {
            self.table.remove(&key);
        }
        self.fences.raise(image, now);
        self.uncover(now);
    }

    /// Ends what is known to be whole: only walks that begin from now on have every image.
    pub(super) fn uncover(&mut self, now: Instant) {
        self.invalidated = self.invalidated.max(Some(now));
    }

    /// Drops an image's items because GetImage says that it does not exist, or not for the credential.
    pub(super) fn deny_image(&mut self, image: &ImageId, denial: &Negative) {
        for key in ImageKey::variants(image) {
            let removed = self.table.remove(&key);
            if removed.is_some() {
                self.uncover(denial.answered());
            }
            if let Some(item) = removed
                // Otherwise the item may be newer than the denial.
                && denial.sent > item.page.complete()
            {
                // Without room for the suspension, a later page proves no mismatch; the fence holds all the same.
                let _ = self
                    .trust
                    .differs(&key, DENIED, &item.text, denial.answered());
            }
        }
        self.fences.raise(image, denial.answered());
    }

    /// Drops the items that match, because of an invalidation that may concern any page under way.
    pub(super) fn drop_matching(&mut self, matches: impl Fn(&Item) -> bool, now: Instant) {
        self.table.remove_matching(|_, item| matches(item));
        self.fences.raise_all(now);
        self.uncover(now);
    }

    /// Numbers a walk.
    pub(super) const fn next_walk(&mut self) -> u64 {
        self.last_walk += 1;
        self.last_walk
    }

    /// Records the Verbose that clients have asked with, and returns those to walk: the ones of lately, or the API's
    /// default, `false`, as long as no client has asked.
    pub(super) fn verboses(&mut self, asked: [bool; 2], now: Instant) -> Vec<bool> {
        for (at, asked) in self.asked_at.iter_mut().zip(asked) {
            *at = if asked { Some(now) } else { *at };
        }
        let lately = |verbose: &bool| {
            self.asked_at[usize::from(*verbose)]
                .is_some_and(|at| now.saturating_duration_since(at) < LATELY)
        };
        let wanted: Vec<bool> = [false, true].into_iter().filter(lately).collect();
        if self.asked_at == [None; 2] {
            vec![false]
        } else {
            wanted
        }
    }

    /// Returns the scopes that are not paused, with their numbers.
    pub(super) fn scopes_due(&self, now: Instant) -> Vec<(usize, Scope)> {
        let scopes = self.scopes.iter().enumerate();
        let due = scopes.filter(|(_, scope)| scope.paused_until.is_none_or(|until| until <= now));
        due.map(|(number, state)| (number, state.scope.clone()))
            .collect()
    }

    /// Pauses a scope for ten minutes, for a reason that `/status` shows.
    pub(super) fn pause(&mut self, scope: usize, reason: &'static str, now: Instant) {
        if let Some(state) = self.scopes.get_mut(scope) {
            (state.paused_until, state.trouble) = (Some(now + PAUSE), Some(reason));
        }
    }

    /// Drops the items of whole scopes, the last first, until the others take at most `max_bytes`. Returns the names of
    /// the scopes that were dropped, and paused.
    pub(super) fn make_room(&mut self, max_bytes: u64, now: Instant) -> Vec<String> {
        let mut dropped = Vec::new();
        while self.table.bytes() > max_bytes {
            let Some(last) = self.table.iter().map(|(_, item)| item.scope).max() else {
                break;
            };
            self.table.remove_matching(|_, item| item.scope == last);
            self.pause(last, "memory", now);
            self.scopes[last].last_dropped = self.last_walk;
            // Its items may be images of other scopes, too.
            self.uncover(now);
            dropped.push(self.scopes[last].scope.name().to_owned());
        }
        dropped
    }

    /// Returns whether a walk still acts: it began after its scope was last dropped.
    pub(super) fn acts(&self, scope: usize, walk: u64) -> bool {
        let scope = self.scopes.get(scope);
        scope.is_some_and(|scope| walk > scope.last_dropped)
    }

    /// Records a walk that has seen every page of a scope, and perhaps every image.
    pub(super) fn walked(&mut self, end: &WalkEnd, took: Duration) {
        if let Some(state) = self.scopes.get_mut(end.scope) {
            let whole = end.is_steady.then_some((end.started, took));
            state.whole[usize::from(end.verbose)] = whole;
            (state.paused_until, state.trouble) = (None, None);
            (state.walked_at, state.pages) = (Some(Timestamp::now()), end.pages);
        }
    }

    /// Returns whether every image of these scopes has an item that may answer: each was walked whole lately.
    pub(super) fn covers(
        &self,
        wanted: &[Scope],
        verbose: bool,
        keeps_fresh: Duration,
        is_current: impl Fn(Instant) -> bool,
        now: Instant,
    ) -> bool {
        let is_walked = |wanted: &Scope| {
            let state = self.scopes.iter().find(|state| state.scope == *wanted);
            let whole = state.and_then(|state| state.whole[usize::from(verbose)]);
            whole.is_some_and(|(started, took)| {
                now.saturating_duration_since(started) < keeps_fresh + took
                    && self.invalidated.is_none_or(|at| started > at)
                    && is_current(started)
            })
        };
        self.trust.is_enough(verbose) && wanted.iter().all(is_walked)
    }

    /// Returns the items that carry a URI; `None` if one of them may not answer.
    pub(super) fn of_uri(
        &self,
        uri: &str,
        verbose: bool,
        now: Instant,
    ) -> Option<Vec<ListedImage>> {
        let items = self.table.of_uri(uri, verbose);
        let listed = items.map(|(key, item)| {
            self.trust.may_answer(key).then(|| ListedImage {
                id: key.image.clone(),
                item: item.text.clone(),
                age: item.page.timing().age(now),
            })
        });
        listed.collect()
    }

    /// Returns images to compare with GetImage now: those for which `draw` is least.
    pub(super) fn comparisons(
        &self,
        verbose: bool,
        draw: impl Fn(&ImageKey) -> u64,
    ) -> Vec<ImageKey> {
        let due = self.trust.comparisons_due(verbose) as usize;
        let keys = self.table.iter().map(|(key, _)| key);
        let mut keys: Vec<_> = keys.filter(|key| key.verbose == verbose).collect();
        if keys.len() > due && due > 0 {
            keys.select_nth_unstable_by_key(due - 1, |key| draw(key));
        }
        keys.into_iter().take(due).cloned().collect()
    }

    pub(super) fn status(&self, config: &Config) -> CatalogueStatus {
        let scopes = self.scopes.iter().map(|state| ScopeStatus {
            name: state.scope.name().to_owned(),
            last_walk: state.walked_at,
            pages: state.pages,
            paused: state.trouble,
        });
        CatalogueStatus {
            images: self.table.images(),
            bytes: self.table.bytes(),
            max_bytes: config.max_bytes.0,
            answering: [false, true].map(|verbose| config.answer && self.trust.is_enough(verbose)),
            mismatches: self.trust.mismatches(),
            scopes: scopes.collect(),
        }
    }
}
