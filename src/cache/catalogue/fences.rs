//! Times of writes, purges and negative answers: a page asked for before one says nothing about its image.

use std::collections::HashMap;

use tokio::time::Instant;

use crate::api::ImageId;

/// Images that have fences of their own. Beyond that one fence for all images takes their place, which costs the pages
/// under way.
const MAX: usize = 10_000;

/// Latest invalidation of each image, and of all.
#[derive(Debug, Default)]
pub(super) struct Fences {
    of_images: HashMap<ImageId, Instant>,
    of_all: Option<Instant>,
}

impl Fences {
    /// Records an invalidation of one image.
    pub(super) fn raise(&mut self, image: &ImageId, now: Instant) {
        if self.of_images.len() >= MAX && !self.of_images.contains_key(image) {
            self.raise_all(now);
        } else {
            self.of_images.insert(image.clone(), now);
        }
    }

    /// Records an invalidation that may concern any image.
    pub(super) fn raise_all(&mut self, now: Instant) {
        self.of_images.clear();
        self.of_all = Some(now);
    }

    /// Returns whether a page that was asked for then knows of every invalidation of the image.
    pub(super) fn admit(&self, image: &ImageId, asked: Instant) -> bool {
        let raised = self.of_all.max(self.of_images.get(image).copied());
        raised.is_none_or(|raised| asked > raised)
    }

    /// Forgets the fences of single images from before `time`; pages that were asked for before it are not admitted
    /// any more.
    pub(super) fn expire(&mut self, time: Instant) {
        let before = self.of_images.len();
        self.of_images.retain(|_, raised| *raised >= time);
        if self.of_images.len() < before {
            self.of_all = self.of_all.max(Some(time));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn image(number: usize) -> ImageId {
        ImageId::parse(&format!("image-{number}")).unwrap()
    }

    #[test]
    fn a_page_from_before_an_invalidation_is_not_admitted() {
        let (mut fences, start) = (Fences::default(), Instant::now());
        let at = |millis| start + Duration::from_millis(millis);
        fences.raise(&image(1), at(10));
        assert!(!fences.admit(&image(1), at(10)) && fences.admit(&image(1), at(11)));
        assert!(fences.admit(&image(2), at(0)));
        fences.raise_all(at(20));
        assert!(!fences.admit(&image(2), at(20)) && fences.admit(&image(2), at(21)));
    }

    #[test]
    fn neither_time_nor_number_forgets_an_invalidation() {
        let (mut fences, start) = (Fences::default(), Instant::now());
        let at = |millis| start + Duration::from_millis(millis);
        fences.raise(&image(1), at(10));
        fences.expire(at(10));
        assert!(fences.admit(&image(2), at(5)));
        fences.expire(at(11));
        assert!(!fences.admit(&image(1), at(10)) && !fences.admit(&image(2), at(5)));
        for number in 0..=MAX {
            fences.raise(&image(number), at(20));
        }
        assert!(!fences.admit(&image(0), at(20)) && !fences.admit(&image(MAX), at(20)));
        assert!(fences.of_images.len() <= MAX);
    }
}
