//! Who waits for what another replica fetches.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::sync::futures::Notified;

use crate::api::ImageId;

/// The images that are waited for. As many as there are fetches under way.
#[derive(Debug, Default)]
pub(super) struct KeyWaiters(Mutex<HashMap<ImageId, WaitSlot>>);

#[derive(Debug)]
struct WaitSlot {
    notify: Arc<Notify>,
    handles: usize,
}

/// One who waits. Dropping it ends the waiting.
#[derive(Debug)]
pub(super) struct WaitHandle<'a> {
    waiters: &'a KeyWaiters,
    image: ImageId,
    notify: Arc<Notify>,
}

impl KeyWaiters {
    /// Begins to wait for news of an image.
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

    /// There is news of an image.
    pub(super) fn wake(&self, image: &ImageId) {
        if let Some(slot) = self.0.lock().get(image) {
            slot.notify.notify_waiters();
        }
    }

    /// There may be news of each.
    pub(super) fn wake_all(&self) {
        for slot in self.0.lock().values() {
            slot.notify.notify_waiters();
        }
    }
}

impl WaitHandle<'_> {
    /// The next news from the moment this is made and enabled.
    pub(super) fn notified(&self) -> Notified<'_> {
        self.notify.notified()
    }
}

impl Drop for WaitHandle<'_> {
    fn drop(&mut self) {
        let mut slots = self.waiters.0.lock();
        if let Some(slot) = slots.get_mut(&self.image) {
            slot.handles -= 1;
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
    async fn news_wakes_those_who_wait_for_that_image() {
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
