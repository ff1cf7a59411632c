//! The store of lists: bounded by bytes, the least recently used page leaves first.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use super::{ListKey, ListPage};
use crate::cache::entry::allocated;

/// Memory of a page besides its body and its key, in bytes: the page itself and its places in both maps.
const OVERHEAD: u64 = 512;

/// Pages by key, and their order of use. One lock guards it: a list is some 50 KiB, so sending it costs far
/// more than the lock.
#[derive(Debug)]
pub(super) struct ListStore {
    pages: HashMap<ListKey, StoredPage>,
    /// Keys by the time of their last use, the oldest first.
    by_use: BTreeMap<u64, ListKey>,
    uses: u64,
    bytes: u64,
    max_bytes: u64,
}

#[derive(Debug)]
struct StoredPage {
    page: Arc<ListPage>,
    last_use: u64,
}

impl ListStore {
    pub(super) fn new(max_bytes: u64) -> Self {
        Self {
            pages: HashMap::new(),
            by_use: BTreeMap::new(),
            uses: 0,
            bytes: 0,
            max_bytes,
        }
    }

    /// Returns the page of a key, which counts as a use of it.
    pub(super) fn get(&mut self, key: &ListKey) -> Option<Arc<ListPage>> {
        self.uses += 1;
        let stored = self.pages.get_mut(key)?;
        if let Some(key) = self.by_use.remove(&stored.last_use) {
            self.by_use.insert(self.uses, key);
        }
        stored.last_use = self.uses;
        Some(Arc::clone(&stored.page))
    }

    /// Stores a page in place of any earlier one of its key, and removes others until all fit. A page that
    /// does not fit alone is not stored.
    pub(super) fn insert(&mut self, key: &ListKey, page: Arc<ListPage>) {
        self.remove(key);
        let weight = weight(key, &page);
        if weight > self.max_bytes {
            return;
        }
        while self.bytes + weight > self.max_bytes
            && let Some((_, oldest)) = self.by_use.pop_first()
        {
            self.remove(&oldest);
        }
        self.uses += 1;
        self.bytes += weight;
        self.by_use.insert(self.uses, key.clone());
        let last_use = self.uses;
        self.pages
            .insert(key.clone(), StoredPage { page, last_use });
    }

    pub(super) fn remove(&mut self, key: &ListKey) {
        if let Some(stored) = self.pages.remove(key) {
            self.bytes -= weight(key, &stored.page);
            self.by_use.remove(&stored.last_use);
        }
    }

    pub(super) fn clear(&mut self) {
        self.pages.clear();
        self.by_use.clear();
        self.bytes = 0;
    }

    /// Keeps every page for the time in which the origin fails, and no other use.
    pub(super) fn purge_softly(&mut self) {
        for stored in self.pages.values_mut() {
            stored.page = Arc::new(stored.page.softly_purged());
        }
    }

    /// Returns at most `most` pages, the last used first.
    pub(super) fn latest(&self, most: usize) -> Vec<(ListKey, Arc<ListPage>)> {
        let keys = self.by_use.values().rev().take(most);
        keys.filter_map(|key| Some((key.clone(), Arc::clone(&self.pages.get(key)?.page))))
            .collect()
    }

    pub(super) fn len(&self) -> usize {
        self.pages.len()
    }

    pub(super) const fn bytes(&self) -> u64 {
        self.bytes
    }
}

fn weight(key: &ListKey, page: &ListPage) -> u64 {
    OVERHEAD + (allocated(key.query.len()) + allocated(page.body.len())) as u64
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::cache::lists::tests::{key, page};

    /// Room for `count` pages of ten bytes under keys of one byte.
    const fn room(count: u64) -> u64 {
        count * (OVERHEAD + 11)
    }

    fn held(store: &ListStore) -> Vec<String> {
        let latest = store.latest(usize::MAX).into_iter();
        latest.map(|(key, _)| key.query.to_string()).collect()
    }

    #[test]
    fn the_page_that_was_used_least_recently_leaves_first() {
        let mut store = ListStore::new(room(2));
        store.insert(&key("a"), page(10));
        store.insert(&key("b"), page(10));
        assert!(store.get(&key("a")).is_some());
        store.insert(&key("c"), page(10));
        assert_eq!(held(&store), ["c", "a"]);
        assert!(store.get(&key("b")).is_none());
    }

    #[test]
    fn a_page_that_is_too_large_is_not_stored_and_replaces_the_earlier_one() {
        let mut store = ListStore::new(room(1));
        store.insert(&key("a"), page(10));
        store.insert(&key("a"), page(11));
        assert_eq!((held(&store).len(), store.bytes()), (0, 0));
    }

    #[derive(Debug, Clone)]
    enum Step {
        Insert(u8, usize),
        Get(u8),
        Remove(u8),
        Soften,
        Clear,
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            6 => (0..9u8, 0..3000usize).prop_map(|(key, size)| Step::Insert(key, size)),
            4 => (0..9u8).prop_map(Step::Get),
            2 => (0..9u8).prop_map(Step::Remove),
            1 => Just(Step::Soften),
            1 => Just(Step::Clear),
        ]
    }

    proptest! {
        #[test]
        fn the_bound_holds_and_both_maps_agree(steps in prop::collection::vec(step(), 0..60)) {
            let mut store = ListStore::new(6000);
            for step in steps {
                match step {
                    Step::Insert(name, size) => store.insert(&key(&name.to_string()), page(size)),
                    Step::Get(name) => drop(store.get(&key(&name.to_string()))),
                    Step::Remove(name) => store.remove(&key(&name.to_string())),
                    Step::Soften => store.purge_softly(),
                    Step::Clear => store.clear(),
                }
                let latest = store.latest(usize::MAX);
                prop_assert_eq!(latest.len(), store.pages.len());
                prop_assert_eq!(store.by_use.len(), store.pages.len());
                let sum: u64 = latest.iter().map(|(key, page)| weight(key, page)).sum();
                prop_assert_eq!(store.bytes(), sum);
                prop_assert!(sum <= 6000);
            }
        }
    }
}
