//! Who waits for what another replica fetches.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::sync::futures::Notified;

use crate::api::ImageId;

/// The images that are waited for. As many as there are fetches under way.
#[derive(Debug, Default)]
pub(super) struct Waiting(Mutex<HashMap<ImageId, Room>>);

#[derive(Debug)]
struct Room {
    bell: Arc<Notify>,
    guests: usize,
}

/// One who waits. Dropping it ends the waiting.
#[derive(Debug)]
pub(super) struct Guest<'a> {
    waiting: &'a Waiting,
    image: ImageId,
    bell: Arc<Notify>,
}

impl Waiting {
    /// Begins to wait for news of an image.
    pub(super) fn enter(&self, image: &ImageId) -> Guest<'_> {
        let mut rooms = self.0.lock();
        let room = rooms.entry(image.clone()).or_insert_with(|| Room {
            bell: Arc::default(),
            guests: 0,
        });
        room.guests += 1;
        Guest {
            waiting: self,
            image: image.clone(),
            bell: Arc::clone(&room.bell),
        }
    }

    /// There is news of an image.
    pub(super) fn wake(&self, image: &ImageId) {
        if let Some(room) = self.0.lock().get(image) {
            room.bell.notify_waiters();
        }
    }

    /// There may be news of each.
    pub(super) fn wake_all(&self) {
        for room in self.0.lock().values() {
            room.bell.notify_waiters();
        }
    }
}

impl Guest<'_> {
    /// The next news from the moment this is made and enabled.
    pub(super) fn news(&self) -> Notified<'_> {
        self.bell.notified()
    }
}

impl Drop for Guest<'_> {
    fn drop(&mut self) {
        let mut rooms = self.waiting.0.lock();
        if let Some(room) = rooms.get_mut(&self.image) {
            room.guests -= 1;
            if room.guests == 0 {
                rooms.remove(&self.image);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn news_wakes_those_who_wait_for_that_image() {
        let waiting = Waiting::default();
        let [here, there] = ["here", "there"].map(|id| ImageId::parse(id).unwrap());
        let (guest, other) = (waiting.enter(&here), waiting.enter(&there));
        let (mut news, mut others) = (Box::pin(guest.news()), Box::pin(other.news()));
        assert!(!news.as_mut().enable() && !others.as_mut().enable());
        waiting.wake(&here);
        news.await;
        assert!(!others.as_mut().enable());
        waiting.wake_all();
        others.await;
        drop((guest, other));
        assert!(waiting.0.lock().is_empty());
    }
}
