//! Telling one forbidden image from a credential that is forbidden everything.

use std::collections::VecDeque;
use std::time::Duration;

use tokio::time::Instant;

use crate::api::ImageId;

/// So many different images refused …
const IMAGES: usize = 3;
/// … within so long speak of the credential, not of the images.
const WINDOW: Duration = Duration::from_secs(10);

/// The latest refusals, one an image; never more than [`IMAGES`].
#[derive(Debug, Default)]
pub(super) struct Refusals(VecDeque<(ImageId, Instant)>);

impl Refusals {
    /// Notes a refusal and tells whether it is our credential's trouble.
    pub(super) fn note(&mut self, image: &ImageId, now: Instant) -> bool {
        self.0
            .retain(|(other, at)| other != image && now.saturating_duration_since(*at) < WINDOW);
        self.0.push_back((image.clone(), now));
        while self.0.len() > IMAGES {
            self.0.pop_front();
        }
        self.0.len() == IMAGES
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn three_images_within_ten_seconds_are_the_credentials_trouble() {
        let (start, mut refusals) = (Instant::now(), Refusals::default());
        let mut note = |image: &str, second| {
            refusals.note(
                &ImageId::parse(image).unwrap(),
                start + Duration::from_secs(second),
            )
        };
        assert!(!note("a", 0));
        assert!(!note("a", 1));
        assert!(!note("b", 2));
        assert!(!note("c", 11));
        assert!(note("d", 11));
        assert!(note("e", 11));
        assert!(!note("e", 30));
    }
}
