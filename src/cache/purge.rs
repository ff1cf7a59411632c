//! Purges: removal of entries on an operator's order, or because the origin no longer has the image.

use std::sync::Arc;

use super::{Cache, Entry};
use crate::api::{ImageId, ImageKey};

/// The entries that a purge concerns. Each concerns all lists as well, for any may show the image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PurgeTarget {
    /// Both variants of one image, and its negative answer.
    Image(ImageId),
    /// All images of a workspace, by its id.
    Workspace(String),
    /// No image, but all lists, as every other target: after a write of an image that is not known.
    Lists,
    /// All images and negative answers.
    All,
}

/// Effect of a purge on the entries it concerns.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PurgeMode {
    /// Removes them.
    Hard,
    /// Keeps images and lists for stale-if-error alone.
    Soft,
}

impl<E: Clone + Send + Sync + 'static> Cache<E> {
    /// Purges memory and journals that, so that no restart brings an entry back; returns the number of
    /// entries. Awaited before the purge is acknowledged.
    pub async fn purge_durably(&self, target: &PurgeTarget, mode: PurgeMode) -> u64 {
        let purged = self.purge(target, mode);
        self.journal(target, mode).await;
        purged
    }

    /// Removes and journals an image that the origin no longer has, if a snapshot could bring it back.
    ///
    /// Runs before the negative answer is published. A detached flight may remove a newer image this way,
    /// which costs one fetch.
    pub(super) async fn forget_gone(&self, image: &ImageId) {
        if self.journal.get().is_some() && self.remove_variants(image) > 0 {
            let image = PurgeTarget::Image(image.clone());
            self.journal(&image, PurgeMode::Hard).await;
        }
    }

    /// Appends a purge that has been carried out to the journal, if there is one. The journal handles a
    /// failure itself, by removing the snapshot.
    pub async fn journal(&self, target: &PurgeTarget, mode: PurgeMode) {
        // A snapshot holds no lists.
        if *target == PurgeTarget::Lists {
            return;
        }
        let Some(journal) = self.journal.get().map(Arc::clone) else {
            return;
        };
        let target = target.clone();
        let append = tokio::task::spawn_blocking(move || journal.append(&target, mode));
        if append.await.is_err() {
            tracing::error!("a purge was not journalled: the program is ending");
        }
    }

    /// Purges memory alone and returns the number of entries, lists not counted; see [`Self::purge_durably`].
    pub fn purge(&self, target: &PurgeTarget, mode: PurgeMode) -> u64 {
        self.lists.invalidate(mode);
        match (target, mode) {
            (PurgeTarget::Image(image), PurgeMode::Hard) => self.invalidate(image),
            (PurgeTarget::Image(image), PurgeMode::Soft) => {
                let keys = ImageKey::variants(image);
                self.flights.detach(&keys, || {
                    self.negatives.invalidate(image);
                    self.drop_item(image);
                    keys.iter().filter(|key| self.purge_softly(key)).count() as u64
                })
            }
            (PurgeTarget::Lists, _) => {
                self.uncover_catalogue();
                0
            }
            (PurgeTarget::Workspace(_) | PurgeTarget::All, _) => self
                .flights
                .detach_all(|| self.purge_matching(target, mode)),
        }
    }

    fn purge_matching(&self, target: &PurgeTarget, mode: PurgeMode) -> u64 {
        let matches = |entry: &Entry| match target {
            PurgeTarget::Workspace(workspace) => {
                entry.ownership.workspace.as_deref() == Some(workspace)
            }
            PurgeTarget::All | PurgeTarget::Image(_) | PurgeTarget::Lists => true,
        };
        match target {
            PurgeTarget::Workspace(workspace) => self.drop_items(Some(workspace)),
            PurgeTarget::All | PurgeTarget::Image(_) | PurgeTarget::Lists => self.drop_items(None),
        }
        let keys: Vec<_> = self
            .images
            .iter()
            .filter(|(_, entry)| matches(entry))
            .map(|(key, _)| key)
            .collect();
        if *target == PurgeTarget::All {
            self.negatives.invalidate_all();
        }
        let purged = keys.iter().filter(|key| match mode {
            PurgeMode::Hard => self.images.remove(key),
            PurgeMode::Soft => self.purge_softly(key),
        });
        purged.count() as u64
    }

    fn purge_softly(&self, key: &ImageKey) -> bool {
        let Some(entry) = self.images.get(key) else {
            return false;
        };
        self.images
            .insert(key.clone(), Arc::new(entry.softly_purged()));
        true
    }
}
