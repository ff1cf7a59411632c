//! Invalidations and denials, which drop items and what is known to be whole.

use tokio::time::Instant;

use super::Cache;
use super::item::Item;
use crate::api::ImageId;
use crate::cache::Negative;

impl<E: Clone + Send + Sync + 'static> Cache<E> {
    /// Drops the items of an image that GetImage says does not exist, or not for the credential.
    pub(in crate::cache) fn deny_item(&self, image: &ImageId, negative: &Negative) {
        if let Some(catalogue) = &self.catalogue {
            catalogue.state.lock().deny_image(image, negative);
        }
    }

    /// Drops an image's items, because of an invalidation.
    pub(in crate::cache) fn drop_item(&self, image: &ImageId) {
        if let Some(catalogue) = &self.catalogue {
            catalogue.state.lock().drop_image(image, Instant::now());
        }
    }

    /// Takes note that images may have been added that no walk has shown.
    pub(in crate::cache) fn uncover_catalogue(&self) {
        if let Some(catalogue) = &self.catalogue {
            catalogue.state.lock().uncover(Instant::now());
        }
    }

    /// Drops the items of a workspace, or all, because of a purge.
    pub(in crate::cache) fn drop_items(&self, workspace: Option<&str>) {
        if let Some(catalogue) = &self.catalogue {
            let matches = |item: &Item| {
                workspace.is_none_or(|wanted| item.workspace().as_deref() == Some(wanted))
            };
            catalogue
                .state
                .lock()
                .drop_matching(matches, Instant::now());
        }
    }
}
