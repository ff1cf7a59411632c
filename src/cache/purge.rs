//! Forgetting on order.

use std::sync::Arc;

use super::{Cache, Entry};
use crate::api::{ImageId, ImageKey};

/// What a purge is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Scope {
    /// One image, both variants.
    Image(ImageId),
    /// Every image of a workspace.
    Workspace(String),
    /// Everything.
    All,
}

/// What a purge leaves behind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Thoroughness {
    /// Nothing.
    Hard,
    /// Images stay for when the origin fails.
    Soft,
}

impl<E: Clone + Send + Sync + 'static> Cache<E> {
    /// Purges, tells how many entries that met, and sees to it that no restart brings them back. To
    /// be waited for before the order is answered; begun, it is finished, whoever waits.
    pub async fn purge_durably(&self, scope: &Scope, thoroughness: Thoroughness) -> u64 {
        let purged = self.purge(scope, thoroughness);
        self.journal(scope, thoroughness).await;
        purged
    }

    /// Forgets an image that the origin says is gone, if a snapshot could bring it back, before anybody
    /// hears that. What a detached flight brought may cost a newer image here, never more.
    pub(super) async fn forget_gone(&self, image: &ImageId) {
        if self.journal.get().is_some() && self.remove_variants(image) > 0 {
            let image = Scope::Image(image.clone());
            self.journal(&image, Thoroughness::Hard).await;
        }
    }

    /// Writes an order that has been carried out beside the snapshot, where there is one. A failure is
    /// the journal's own to handle.
    pub async fn journal(&self, scope: &Scope, thoroughness: Thoroughness) {
        let Some(journal) = self.journal.get().map(Arc::clone) else {
            return;
        };
        let scope = scope.clone();
        let append = tokio::task::spawn_blocking(move || journal.append(&scope, thoroughness));
        if append.await.is_err() {
            tracing::error!("a purge was not journalled: the program is ending");
        }
    }

    /// Purges memory alone, and tells how many entries that met.
    pub fn purge(&self, scope: &Scope, thoroughness: Thoroughness) -> u64 {
        match (scope, thoroughness) {
            (Scope::Image(image), Thoroughness::Hard) => self.invalidate(image),
            (Scope::Image(image), Thoroughness::Soft) => {
                let keys = ImageKey::variants(image);
                self.flights.detach(&keys, || {
                    self.negatives.invalidate(image);
                    keys.iter().filter(|key| self.soften(key)).count() as u64
                })
            }
            (Scope::Workspace(_) | Scope::All, _) => self
                .flights
                .detach_all(|| self.purge_matching(scope, thoroughness)),
        }
    }

    fn purge_matching(&self, scope: &Scope, thoroughness: Thoroughness) -> u64 {
        let matches = |entry: &Entry| match scope {
            Scope::Workspace(workspace) => entry.ownership.workspace.as_deref() == Some(workspace),
            Scope::All | Scope::Image(_) => true,
        };
        let keys: Vec<_> = self
            .images
            .iter()
            .filter(|(_, entry)| matches(entry))
            .map(|(key, _)| key)
            .collect();
        if *scope == Scope::All {
            self.negatives.invalidate_all();
        }
        let purged = keys.iter().filter(|key| match thoroughness {
            Thoroughness::Hard => self.images.remove(key),
            Thoroughness::Soft => self.soften(key),
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
