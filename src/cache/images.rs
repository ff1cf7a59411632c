//! The images by key: moka, and in front of it those that were read slots.
//!
//! moka notes every read for its eviction policy, which costs more than all else a hit needs of the
//! cache. So most reads of an image that is asked for often end here, and moka hears of a sample.
//!
//! A slot holds an image only weakly, so that it keeps nothing that moka has given back, and with the version that the
//! slot had when the image was read. Every change of a key gives its slot a new version after moka has
//! the change: whoever sees the change done sees no older image.

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
/// One read in so many goes to moka, though a slot would answer it; and one in so many takes a slot
/// from another key.
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

/// An image as it was read from moka.
#[derive(Debug)]
struct RecentRead {
    version: u64,
    key: ImageKey,
    entry: Weak<Entry>,
}

impl Images {
    /// An empty store of so many bytes. `evicted` hears of each entry that leaves, but for those that
    /// are replaced.
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

    /// The image of a key.
    pub(super) fn get(&self, key: &ImageKey) -> Option<Arc<Entry>> {
        let slot = self.slot(key);
        let version = slot.version.load(Ordering::Acquire);
        let read = slot.read.load();
        let current = read.as_ref().filter(|read| read.version == version);
        let sampled = fastrand::u8(..SAMPLE) == 0;
        match current {
            Some(read) if read.key == *key => {
                if !sampled && let Some(entry) = read.entry.upgrade() {
                    return Some(entry);
                }
                self.store.get(key)
            }
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

    /// Holds an image, instead of the one that was held under its key.
    pub(super) fn insert(&self, key: ImageKey, entry: Arc<Entry>) {
        let slot = self.slot(&key);
        self.store.insert(key, entry);
        self.changed(slot);
    }

    /// Holds no image of this key any more; tells whether it held one.
    pub(super) fn remove(&self, key: &ImageKey) -> bool {
        let held = self.store.remove(key).is_some();
        self.changed(self.slot(key));
        held
    }

    /// Every image that is held, in no order.
    pub(super) fn iter(&self) -> impl Iterator<Item = (Arc<ImageKey>, Arc<Entry>)> + '_ {
        self.store.iter()
    }

    /// Grows with each change.
    pub(super) fn changes(&self) -> u64 {
        self.changes.load(Ordering::Acquire)
    }

    /// How many are held, and what they weigh, when all that is due has been evicted.
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
    fn what_was_changed_last_is_what_is_read_however_often() {
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
