//! Lookups of this replica that wait for another replica's fetch.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::sync::futures::Notified;

use crate::api::ImageId;

/// Table of the images that lookups wait for. It is bounded by the number of fetches under way.
#[derive(Debug, Default)]
pub(super) struct KeyWaiters(Mutex<HashMap<ImageId, WaitSlot>>);

#[derive(Debug)]
struct WaitSlot {
    notify: Arc<Notify>,
    handles: usize,
}

/// Registration of one waiting lookup, which ends when it is dropped.
#[derive(Debug)]
pub(super) struct WaitHandle<'a> {
    waiters: &'a KeyWaiters,
    image: ImageId,
    notify: Arc<Notify>,
}

impl KeyWaiters {
    /// Registers a lookup for the messages about an image.
    pub(super) fn register(&self, image: &ImageId) -> WaitHandle<'_> {
        let mut slots = self.0.lock();
        let slot = slots.entry(image.clone()).or_insert_with(|| WaitSlot {
            notify: Arc::default(),
            handles: 0,
        });
        slot.handles += 1;
        WaitHandle {
            waiters: self,
            image: image.clone(),
            notify: Arc::clone(&slot.notify),
        }
    }

    /// Wakes the lookups of one image: its fetch ended, or it was invalidated.
    pub(super) fn wake(&self, image: &ImageId) {
        if let Some(slot) = self.0.lock().get(image) {
            slot.notify.notify_waiters();
        }
    }

    /// Wakes all lookups, because messages may have been lost or everything was invalidated.
    pub(super) fn wake_all(&self) {
        for slot in self.0.lock().values() {
            slot.notify.notify_waiters();
        }
    }
}

impl WaitHandle<'_> {
    /// Returns a future of the next message. It misses none from the moment that it is enabled.
    pub(super) fn notified(&self) -> Notified<'_> {
        self.notify.notified()
    }
}

impl Drop for WaitHandle<'_> {
    fn drop(&mut self) {
        let mut slots = self.waiters.0.lock();
        if let Some(slot) = slots.get_mut(&self.image) {
            slot.handles -= 1;
            // The last one removes the slot, or the table would grow with every image ever waited for.
            if slot.handles == 0 {
                slots.remove(&self.image);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_message_wakes_the_waiters_of_that_image() {
        let waiters = KeyWaiters::default();
        let [here, there] = ["here", "there"].map(|id| ImageId::parse(id).unwrap());
        let (handle, other) = (waiters.register(&here), waiters.register(&there));
        let (mut news, mut others) = (Box::pin(handle.notified()), Box::pin(other.notified()));
        assert!(!news.as_mut().enable() && !others.as_mut().enable());
        waiters.wake(&here);
        news.await;
        assert!(!others.as_mut().enable());
        waiters.wake_all();
        others.await;
        drop((handle, other));
        assert!(waiters.0.lock().is_empty());
    }
}
