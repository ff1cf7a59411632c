//! The items in memory, by image and Verbose, with an index by URI.

use std::collections::HashMap;
use std::sync::{Arc, Weak};
use std::time::Duration;

use bytes::Bytes;

use super::item::{Item, PageAnswer};
use crate::api::{ImageId, ImageKey};
use crate::cache::Entry;

/// The newest item of each image and Verbose.
#[derive(Debug, Default)]
pub(super) struct Table {
    items: HashMap<ImageKey, Item>,
    by_uri: HashMap<Arc<str>, Vec<ImageKey>>,
    bytes: u64,
}

impl Table {
    pub(super) fn get(&self, key: &ImageKey) -> Option<&Item> {
        self.items.get(key)
    }

    /// Stores an item and replaces an earlier one of its key.
    pub(super) fn insert(&mut self, key: &ImageKey, mut item: Item) {
        self.remove(key);
        self.bytes += item.weight();
        if let Some(uri) = item.uri.take() {
            // One allocation of each URI serves the index and its items.
            let known = self
                .by_uri
                .get_key_value(&uri)
                .map(|(known, _)| Arc::clone(known));
            let uri = known.unwrap_or(uri);
            self.by_uri
                .entry(Arc::clone(&uri))
                .or_default()
                .push(key.clone());
            item.uri = Some(uri);
        }
        self.items.insert(key.clone(), item);
    }

    /// Moves an item to the page and walk that showed it again, if its text is the same, and returns whether it is.
    pub(super) fn see_again(
        &mut self,
        key: &ImageKey,
        text: &[u8],
        page: &Arc<PageAnswer>,
        (scope, walk): (usize, u64),
    ) -> bool {
        let known = self.items.get_mut(key);
        let Some(item) = known.filter(|item| item.text == text) else {
            return false;
        };
        (item.page, item.scope, item.walk) = (Arc::clone(page), scope, walk);
        true
    }

    /// Notes that a walk has shown an image, whatever becomes of what it showed.
    pub(super) fn mark_seen(&mut self, key: &ImageKey, (scope, walk): (usize, u64)) {
        if let Some(item) = self.items.get_mut(key) {
            (item.scope, item.walk) = (scope, walk);
        }
    }

    /// Binds an entry to the item of its key.
    pub(super) fn bind(&mut self, key: &ImageKey, entry: &Arc<Entry>) {
        if let Some(item) = self.items.get_mut(key) {
            item.bound = Arc::downgrade(entry);
        }
    }

    /// Ends the binding of the item of a key.
    pub(super) fn unbind(&mut self, key: &ImageKey) {
        if let Some(item) = self.items.get_mut(key) {
            item.bound = Weak::new();
        }
    }

    pub(super) fn remove(&mut self, key: &ImageKey) -> Option<Item> {
        let item = self.items.remove(key)?;
        self.bytes -= item.weight();
        if let Some(uri) = &item.uri
            && let Some(keys) = self.by_uri.get_mut(uri)
        {
            keys.retain(|known| known != key);
            if keys.is_empty() {
                self.by_uri.remove(uri);
            }
        }
        Some(item)
    }

    /// Removes the items that match, and returns their keys.
    pub(super) fn remove_matching(
        &mut self,
        matches: impl Fn(&ImageKey, &Item) -> bool,
    ) -> Vec<ImageKey> {
        let found = self.items.iter().filter(|(key, item)| matches(key, item));
        let keys: Vec<_> = found.map(|(key, _)| key.clone()).collect();
        for key in &keys {
            self.remove(key);
        }
        keys
    }

    /// Returns the items that carry exactly this URI, in no order.
    pub(super) fn of_uri(
        &self,
        uri: &str,
        verbose: bool,
    ) -> impl Iterator<Item = (&ImageKey, &Item)> {
        let keys = self.by_uri.get(uri).into_iter().flatten();
        let wanted = keys.filter(move |key| key.verbose == verbose);
        wanted.filter_map(|key| self.items.get_key_value(key))
    }

    /// Returns the keys of all items.
    pub(super) fn keys(&self) -> Vec<ImageKey> {
        self.items.keys().cloned().collect()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&ImageKey, &Item)> {
        self.items.iter()
    }

    /// Returns the number of images, each once however many Verbose it is listed with.
    pub(super) fn images(&self) -> u64 {
        let other = |key: &ImageKey| ImageKey {
            image: key.image.clone(),
            verbose: false,
        };
        let counted = self
            .items
            .keys()
            .filter(|key| !key.verbose || !self.items.contains_key(&other(key)));
        counted.count() as u64
    }

    pub(super) const fn bytes(&self) -> u64 {
        self.bytes
    }
}

/// An image that the catalogue lists.
#[derive(Debug, Clone)]
pub struct ListedImage {
    /// Its id.
    pub id: ImageId,
    /// Its item, byte for byte.
    pub item: Bytes,
    /// Time since the origin was asked for its page.
    pub age: Duration,
}
