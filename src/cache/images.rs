//! The image store: moka, and in front of it a table of recently read images.
//!
//! moka records every read for its eviction policy, which costs more than all else that a hit needs of the
//! cache: a queue that all readers share. While moka is the store behind it, this front is what keeps a hit
//! free of shared writes: most reads of a popular image end here, and moka sees a sample of them, which its
//! policy needs.
//!
//! A slot holds an image only weakly, so that it keeps nothing alive that moka has evicted, together with
//! the version that the slot had when the image was read. Every change of a key advances its slot's version
//! after moka has the change: a reader that starts after a change is done sees no older image.

use std::hash::BuildHasher;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};

use arc_swap::ArcSwapOption;
use foldhash::quality::RandomState;
use moka::notification::RemovalCause;

use super::Entry;
use crate::api::ImageKey;

/// Slots for images that were read slots; two keys may share one.
const SLOTS: usize = 4096;
/// One read in so many goes to moka although a slot could answer it, and one in so many takes a slot from
/// another key.
const SAMPLE: u8 = 16;

/// The image store, bounded by the entries' weight.
#[derive(Debug)]
pub(super) struct Images {
    store: moka::sync::Cache<ImageKey, Arc<Entry>, RandomState>,
    slots: Box<[ReadSlot]>,
    hasher: RandomState,
    changes: AtomicU64,
}

#[derive(Debug, Default)]
struct ReadSlot {
    version: AtomicU64,
    read: ArcSwapOption<RecentRead>,
}

/// An image as a read of moka returned it.
#[derive(Debug)]
struct RecentRead {
    version: u64,
    key: ImageKey,
    entry: Weak<Entry>,
}

impl Images {
    /// Creates an empty store of so many bytes. `evicted` is called for each entry that leaves, except for
    /// one that is replaced.
    pub(super) fn new(
        max_bytes: u64,
        evicted: impl Fn(RemovalCause) + Send + Sync + 'static,
    ) -> Self {
        let store = moka::sync::Cache::builder()
            .max_capacity(max_bytes)
            .weigher(|_: &ImageKey, entry: &Arc<Entry>| entry.weight())
            .eviction_listener(move |_, _, cause| {
                if cause != RemovalCause::Replaced {
                    evicted(cause);
                }
            })
            .build_with_hasher(RandomState::default());
        Self {
            store,
            slots: std::iter::repeat_with(ReadSlot::default)
                .take(SLOTS)
                .collect(),
            hasher: RandomState::default(),
            changes: AtomicU64::new(0),
        }
    }

    /// Returns the image of a key, from its slot or from moka.
    pub(super) fn get(&self, key: &ImageKey) -> Option<Arc<Entry>> {
        let slot = self.slot(key);
        // The version is loaded before the image, here and before the read of moka below: a change in between
        // makes the pair look outdated, never an old image look current. Acquire pairs with the Release in
        // `changed`, so that a reader that sees the new version also sees moka's change.
        let version = slot.version.load(Ordering::Acquire);
        let read = slot.read.load();
        let current = read.as_ref().filter(|read| read.version == version);
        let sampled = fastrand::u8(..SAMPLE) == 0;
        match current {
            Some(read) if read.key == *key => {
                // The upgrade fails once moka has evicted the entry and its last reader is done.
                if !sampled && let Some(entry) = read.entry.upgrade() {
                    return Some(entry);
                }
                self.store.get(key)
            }
            // Another key's slot changes hands only on a sampled read, or two popular keys that share it would
            // allocate on every read.
            Some(_) if !sampled => self.store.get(key),
            _ => {
                let entry = self.store.get(key)?;
                slot.read.store(Some(Arc::new(RecentRead {
                    version,
                    key: key.clone(),
                    entry: Arc::downgrade(&entry),
                })));
                Some(entry)
            }
        }
    }

    /// Stores an image and replaces any earlier one of its key.
    pub(super) fn insert(&self, key: ImageKey, entry: Arc<Entry>) {
        let slot = self.slot(&key);
        self.store.insert(key, entry);
        // After moka: a reader between the two may still get the old image, and stores it in the slot with the
        // old version, which the next line makes worthless.
        self.changed(slot);
    }

    /// Removes the image of a key and returns whether there was one.
    pub(super) fn remove(&self, key: &ImageKey) -> bool {
        let held = self.store.remove(key).is_some();
        self.changed(self.slot(key));
        held
    }

    /// Iterates over all images in no order; entries that change meanwhile may be seen or not.
    pub(super) fn iter(&self) -> impl Iterator<Item = (Arc<ImageKey>, Arc<Entry>)> + '_ {
        self.store.iter()
    }

    /// Returns the number of insertions and removals so far.
    pub(super) fn changes(&self) -> u64 {
        self.changes.load(Ordering::Acquire)
    }

    /// Returns the number of images and their weight, after all due evictions.
    pub(super) fn usage(&self) -> (u64, u64) {
        self.store.run_pending_tasks();
        (self.store.entry_count(), self.store.weighted_size())
    }

    fn slot(&self, key: &ImageKey) -> &ReadSlot {
        let hash = self.hasher.hash_one(key) as usize;
        &self.slots[hash % SLOTS]
    }

    fn changed(&self, slot: &ReadSlot) {
        slot.version.fetch_add(1, Ordering::Release);
        self.changes.fetch_add(1, Ordering::Release);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::ImageId;
    use crate::cache::tests::entry;

    fn key(id: usize) -> ImageKey {
        ImageKey {
            image: ImageId::parse(&format!("image-{id}")).unwrap(),
            verbose: false,
        }
    }

    fn images(max_bytes: u64) -> Images {
        Images::new(max_bytes, |_| {})
    }

    #[test]
    fn a_read_returns_the_last_change_however_often() {
        let images = images(1 << 20);
        for round in 0..100 {
            let held = entry("{}");
            images.insert(key(1), Arc::clone(&held));
            for _ in 0..50 {
                assert!(Arc::ptr_eq(&images.get(&key(1)).unwrap(), &held));
            }
            if round % 2 == 0 {
                assert!(images.remove(&key(1)));
                assert!((0..50).all(|_| images.get(&key(1)).is_none()));
            }
        }
        assert_eq!(images.changes(), 150);
    }

    #[test]
    fn keys_that_share_a_place_do_not_share_an_image() {
        let images = images(64 << 20);
        let held: Vec<_> = (0..3 * SLOTS).map(|_| entry("{}")).collect();
        for (id, entry) in held.iter().enumerate() {
            images.insert(key(id), Arc::clone(entry));
        }
        for _ in 0..3 {
            for (id, entry) in held.iter().enumerate() {
                assert!(Arc::ptr_eq(&images.get(&key(id)).unwrap(), entry));
            }
        }
    }

    #[test]
    fn a_place_keeps_nothing_that_was_evicted() {
        let images = images(1);
        images.insert(key(1), entry("{}"));
        let read = images.get(&key(1)).map(|entry| Arc::downgrade(&entry));
        let is_gone = || read.as_ref().is_none_or(|entry| entry.upgrade().is_none());
        // moka gives back what it evicted a little later.
        let mut others = (2..10_000).map(key);
        while !is_gone() {
            images.insert(others.next().expect("not gone"), entry("{}"));
            images.usage();
        }
        assert!(images.get(&key(1)).is_none());
    }

    #[test]
    fn a_reader_never_sees_an_older_image_than_one_that_was_put_before() {
        let images = images(1 << 20);
        images.insert(key(1), entry("{}"));
        let done = AtomicU64::new(0);
        std::thread::scope(|scope| {
            let (images, done) = (&images, &done);
            scope.spawn(move || {
                for _ in 0..2_000 {
                    let newer = entry("{}");
                    images.insert(key(1), Arc::clone(&newer));
                    for _ in 0..5 {
                        assert!(Arc::ptr_eq(&images.get(&key(1)).unwrap(), &newer));
                    }
                }
                done.store(1, Ordering::Release);
            });
            scope.spawn(move || {
                while done.load(Ordering::Acquire) == 0 {
                    assert!(images.get(&key(1)).is_some());
                }
            });
        });
    }
}
