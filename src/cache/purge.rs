//! Forgetting on order.

use std::sync::Arc;

use super::{Cache, Entry};
use crate::api::{ImageId, ImageKey};

/// What a purge is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PurgeTarget {
    /// One image, both variants.
    Image(ImageId),
    /// Every image of a workspace.
    Workspace(String),
    /// Everything.
    All,
}

/// What a purge leaves behind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PurgeMode {
    /// Nothing.
    Hard,
    /// Images stay for when the origin fails.
    Soft,
}

impl<E: Clone + Send + Sync + 'static> Cache<E> {
    /// Purges, tells how many entries that met, and sees to it that no restart brings them back. To
    /// be waited for before the order is answered; begun, it is finished, whoever waits.
    pub async fn purge_durably(&self, target: &PurgeTarget, mode: PurgeMode) -> u64 {
        let purged = self.purge(target, mode);
        self.journal(target, mode).await;
        purged
    }

    /// Forgets an image that the origin says is gone, if a snapshot could bring it back, before anybody
    /// hears that. What a detached flight brought may cost a newer image here, never more.
    pub(super) async fn forget_gone(&self, image: &ImageId) {
        if self.journal.get().is_some() && self.remove_variants(image) > 0 {
            let image = PurgeTarget::Image(image.clone());
            self.journal(&image, PurgeMode::Hard).await;
        }
    }

    /// Writes an order that has been carried out beside the snapshot, where there is one. A failure is
    /// the journal's own to handle.
    pub async fn journal(&self, target: &PurgeTarget, mode: PurgeMode) {
        let Some(journal) = self.journal.get().map(Arc::clone) else {
            return;
        };
        let target = target.clone();
        let append = tokio::task::spawn_blocking(move || journal.append(&target, mode));
        if append.await.is_err() {
            tracing::error!("a purge was not journalled: the program is ending");
        }
    }

    /// Purges memory alone, and tells how many entries that met.
    pub fn purge(&self, target: &PurgeTarget, mode: PurgeMode) -> u64 {
        match (target, mode) {
            (PurgeTarget::Image(image), PurgeMode::Hard) => self.invalidate(image),
            (PurgeTarget::Image(image), PurgeMode::Soft) => {
                let keys = ImageKey::variants(image);
                self.flights.detach(&keys, || {
                    self.negatives.invalidate(image);
                    keys.iter().filter(|key| self.soften(key)).count() as u64
                })
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
            PurgeTarget::All | PurgeTarget::Image(_) => true,
        };
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
            PurgeMode::Soft => self.soften(key),
        });
        purged.count() as u64
    }

    fn soften(&self, key: &ImageKey) -> bool {
        let Some(entry) = self.images.get(key) else {
            return false;
        };
        self.images
            .insert(key.clone(), Arc::new(entry.softly_purged()));
        true
    }
}
