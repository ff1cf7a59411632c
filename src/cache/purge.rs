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
    /// Purges, and tells how many entries it met.
    pub fn purge(&self, scope: &Scope, thoroughness: Thoroughness) -> u64 {
        match (scope, thoroughness) {
            (Scope::Image(image), Thoroughness::Hard) => self.invalidate(image),
            (Scope::Image(image), Thoroughness::Soft) => {
                let keys = ImageKey::variants(image);
                self.flights.ground(&keys, || {
                    self.negatives.invalidate(image);
                    keys.iter().filter(|key| self.soften(key)).count() as u64
                })
            }
            (Scope::Workspace(_) | Scope::All, _) => self
                .flights
                .ground_all(|| self.purge_matching(scope, thoroughness)),
        }
    }

    fn purge_matching(&self, scope: &Scope, thoroughness: Thoroughness) -> u64 {
        let matches = |entry: &Entry| match scope {
            Scope::Workspace(workspace) => entry.workspace.as_deref() == Some(workspace),
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
            Thoroughness::Hard => self.images.remove(&***key).is_some(),
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
