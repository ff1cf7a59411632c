//! Store of the emulator's images.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use jiff::Timestamp;
use parking_lot::RwLock;

use super::clock::{self, Clock};
use super::generated;
use super::image::Image;
use super::image_search::{ImagePage, ImageSearch};

/// Images by id, each either as fields or as the exact bytes that a test stored.
#[derive(Debug)]
pub struct Store {
    clock: Arc<Clock>,
    entries: RwLock<HashMap<String, StoredImage>>,
    /// Members that lists show instead of an image's own.
    listed: RwLock<HashMap<String, Members>>,
    /// Most images on a page, however many are asked for; 0 for no limit.
    largest_page: AtomicUsize,
}

/// Members of a JSON object.
pub type Members = serde_json::Map<String, serde_json::Value>;

/// Reason why an image was not changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ModifyError {
    /// There is no such image.
    #[error("there is no such image")]
    Missing,
    /// It was stored byte for byte and has no fields to change.
    #[error("the image was stored byte for byte and has no fields to change")]
    Raw,
}

#[derive(Debug)]
enum StoredImage {
    Fields(Box<Image>),
    Raw(Bytes),
}

impl Store {
    /// Largest number of images that requests can reach by adding; [`Store::put`] ignores it.
    pub(super) const CAPACITY: usize = 1_000_000;

    pub(super) fn generate(images: usize, clock: Arc<Clock>) -> Self {
        let now = clock.now();
        let entries = (0..images).map(|index| {
            let image = generated::image(index, now);
            (image.image_id.clone(), StoredImage::Fields(Box::new(image)))
        });
        Self {
            entries: RwLock::new(entries.collect()),
            listed: RwLock::default(),
            largest_page: AtomicUsize::new(0),
            clock,
        }
    }

    /// Returns the id of the generated image with this index, the same in every emulator.
    ///
    /// By `index % 4` the image is: 0 official; 1 PUBLIC in workspace 15945; 2 PUBLIC in workspace
    /// 20817; 3 PRIVATE in workspace 15945.
    #[must_use]
    pub fn id(index: usize) -> String {
        generated::id(index)
    }

    /// Returns the number of images.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.read().len()
    }

    /// Returns true if there are no images.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.read().is_empty()
    }

    /// Returns at most `limit` ids, sorted.
    #[must_use]
    pub fn ids(&self, limit: usize) -> Vec<String> {
        let mut ids: Vec<String> = self.entries.read().keys().cloned().collect();
        ids.sort_unstable();
        ids.truncate(limit);
        ids
    }

    /// Returns an image's fields; `None` if there is no such image, or if it is stored as bytes.
    #[must_use]
    pub fn get(&self, image: &str) -> Option<Image> {
        match self.entries.read().get(image)? {
            StoredImage::Fields(image) => Some(Image::clone(image)),
            StoredImage::Raw(_) => None,
        }
    }

    /// Stores an image under its own id and replaces an earlier one.
    pub fn put(&self, image: Image) {
        let id = image.image_id.clone();
        self.entries
            .write()
            .insert(id, StoredImage::Fields(Box::new(image)));
    }

    /// Stores the exact bytes of the GetImage response for this id. Searches do not find such an image, and
    /// the only write that it accepts is its removal.
    pub fn put_raw(&self, image: &str, body: impl Into<Bytes>) {
        let entry = StoredImage::Raw(body.into());
        self.entries.write().insert(image.to_owned(), entry);
    }

    /// Removes an image and returns true if there was one.
    pub fn remove(&self, image: &str) -> bool {
        self.entries.write().remove(image).is_some()
    }

    /// Changes an image's description as its owner would, which moves `GmtModifiedTime` to the current time.
    /// Returns that time.
    ///
    /// # Errors
    /// [`ModifyError`].
    pub fn touch(&self, image: &str) -> Result<Timestamp, ModifyError> {
        self.modify(image, |image| {
            let time = clock::to_text(image.gmt_modified_time);
            image.description = format!("修改于 {time}\ntouched");
            image.gmt_modified_time
        })
    }

    /// Moves the image's `GmtModifiedTime` and then calls `change`. The time moves by at least a millisecond,
    /// so that two changes never have the same one.
    pub(super) fn modify<R>(
        &self,
        image: &str,
        change: impl FnOnce(&mut Image) -> R,
    ) -> Result<R, ModifyError> {
        let now = self.clock.now();
        self.relabel(image, |image| {
            let earliest = image.gmt_modified_time.as_millisecond().saturating_add(1);
            let moved = now.as_millisecond().max(earliest);
            image.gmt_modified_time = Timestamp::from_millisecond(moved).unwrap_or(now);
            change(image)
        })
    }

    /// Changes an image and leaves `GmtModifiedTime` where it is, as changes of labels do.
    pub(super) fn relabel<R>(
        &self,
        image: &str,
        change: impl FnOnce(&mut Image) -> R,
    ) -> Result<R, ModifyError> {
        match self.entries.write().get_mut(image) {
            Some(StoredImage::Fields(image)) => Ok(change(image)),
            Some(StoredImage::Raw(_)) => Err(ModifyError::Raw),
            None => Err(ModifyError::Missing),
        }
    }

    /// Makes lists show these members of an image instead of its own, which GetImage goes on showing; none ends that.
    pub fn list_otherwise(&self, image: &str, members: Members) {
        let mut listed = self.listed.write();
        if members.is_empty() {
            listed.remove(image);
        } else {
            listed.insert(image.to_owned(), members);
        }
    }

    /// Makes pages of lists have at most this many images, whatever `PageSize` asks for; 0 ends that.
    pub fn limit_pages(&self, images: usize) {
        self.largest_page.store(images, Ordering::Relaxed);
    }

    /// Returns the members that lists show instead of an image's own.
    pub(super) fn listed(&self, image: &str) -> Option<Members> {
        self.listed.read().get(image).cloned()
    }

    /// Returns the body of the GetImage response.
    pub(super) fn body(&self, image: &str, request_id: &str, verbose: bool) -> Option<Bytes> {
        let entries = self.entries.read();
        let body = match entries.get(image)? {
            StoredImage::Raw(body) => return Some(body.clone()),
            StoredImage::Fields(image) => {
                serde_json::to_vec(&image.render(Some(request_id), verbose))
            }
        };
        Some(
            body.expect("an image has only text and numbers, which always serialize")
                .into(),
        )
    }

    pub(super) fn search(&self, search: &ImageSearch) -> ImagePage {
        let entries = self.entries.read();
        let largest = self.largest_page.load(Ordering::Relaxed);
        let largest = if largest == 0 { usize::MAX } else { largest };
        search.page(largest, entries.values().filter_map(StoredImage::fields))
    }

    /// Visits every image that has fields, in no order.
    pub(super) fn visit(&self, visit: impl FnMut(&Image)) {
        let entries = self.entries.read();
        entries
            .values()
            .filter_map(StoredImage::fields)
            .for_each(visit);
    }

    /// Adds an image unless `clashes` is true for a stored one; returns true if it was added.
    pub(super) fn add(&self, image: Image, clashes: impl Fn(&Image) -> bool) -> bool {
        let mut entries = self.entries.write();
        let id = image.image_id.clone();
        let mut fields = entries.values().filter_map(StoredImage::fields);
        if entries.contains_key(&id) || fields.any(clashes) {
            return false;
        }
        entries.insert(id, StoredImage::Fields(Box::new(image)));
        true
    }

    pub(super) fn now(&self) -> Timestamp {
        self.clock.now()
    }
}

impl StoredImage {
    fn fields(&self) -> Option<&Image> {
        match self {
            Self::Fields(image) => Some(image),
            Self::Raw(_) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_touch_moves_the_time_and_changes_the_description_every_time() {
        let store = Store::generate(1, Arc::default());
        let id = Store::id(0);
        let before = store.get(&id).unwrap();
        let (first, second) = (store.touch(&id).unwrap(), store.touch(&id).unwrap());
        assert!(before.gmt_modified_time < first && first < second);
        let after = store.get(&id).unwrap();
        assert_eq!(after.gmt_modified_time, second);
        assert_ne!(after.description, before.description);
        assert_eq!(after.gmt_create_time, before.gmt_create_time);
    }

    #[test]
    fn raw_images_are_removed_but_not_changed() {
        let store = Store::generate(0, Arc::default());
        store.put_raw("image-raw", "{}");
        assert_eq!(store.touch("image-raw"), Err(ModifyError::Raw));
        assert_eq!(store.touch("image-none"), Err(ModifyError::Missing));
        assert_eq!(store.ids(10), ["image-raw"]);
        assert!(store.remove("image-raw") && store.is_empty());
    }
}
