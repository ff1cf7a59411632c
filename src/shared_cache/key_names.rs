//! What things are called in the server.

use aws_lc_rs::digest::{SHA256, digest};

use crate::api::{ImageId, ImageKey};

/// Version of everything that is stored: another gateway of another one shares nothing with this.
const VERSION: u32 = 1;

/// KeyNames of one fleet's keys and of its channel.
#[derive(Debug, Clone)]
pub(super) struct KeyNames {
    /// `prefix:version:origin:`
    base: String,
}

impl KeyNames {
    /// KeyNames under a prefix, for the answers of one origin.
    pub(super) fn new(prefix: &str, origin: &str) -> Self {
        let sum = digest(&SHA256, origin.as_bytes());
        let origin: String = sum.as_ref().iter().take(4).map(hex).collect();
        Self {
            base: format!("{prefix}:{VERSION}:{origin}:"),
        }
    }

    /// The log of orders to forget.
    pub(super) fn log(&self) -> String {
        format!("{}orders", self.base)
    }

    /// Beside the log, on its node of a cluster: what this replica writes to see that it may.
    pub(super) fn write_probe(&self, replica: &str) -> String {
        format!("{0}{{{0}orders}}:alive:{replica}", self.base)
    }

    /// Beside the log: what this replica writes over a connection made anew.
    pub(super) fn address_probe(&self, replica: &str) -> String {
        format!("{0}{{{0}orders}}:met:{replica}", self.base)
    }

    /// A log that nobody reads, to try whether one may be written.
    pub(super) fn trial_log(&self) -> String {
        format!("{}trial", self.base)
    }

    /// The channel that wakes who waits.
    pub(super) fn channel(&self) -> String {
        format!("{}news", self.base)
    }

    /// Since when write nonces are recorded.
    pub(super) fn write_nonces_since(&self) -> String {
        self.write_nonces("since")
    }

    /// The nonce of one write, by the digest of its key and nonce.
    pub(super) fn write_nonce(&self, fingerprint: &[u8; 32]) -> String {
        let digest: String = fingerprint.iter().map(hex).collect();
        self.write_nonces(&digest)
    }

    fn write_nonces(&self, what: &str) -> String {
        // One node of a cluster has all of them, for a script reads two.
        format!("{0}{{{0}writes}}:{what}", self.base)
    }

    fn of(&self, image: &ImageId, what: &str) -> String {
        // The braces keep all that is known of one image on one node of a cluster.
        format!("{}{{{}}}:{what}", self.base, image.as_str())
    }

    /// An image.
    pub(super) fn image(&self, key: &ImageKey) -> String {
        let what = if key.verbose {
            "image:verbose"
        } else {
            "image"
        };
        self.of(&key.image, what)
    }

    /// That there is none.
    pub(super) fn absence(&self, image: &ImageId) -> String {
        self.of(image, "no")
    }

    /// Who fetches it.
    pub(super) fn lease(&self, key: &ImageKey) -> String {
        let what = if key.verbose {
            "lease:verbose"
        } else {
            "lease"
        };
        self.of(&key.image, what)
    }

    /// All that there can be of an image.
    pub(super) fn all(&self, image: &ImageId) -> Vec<String> {
        let variants = ImageKey::variants(image);
        let of_each = variants
            .iter()
            .flat_map(|key| [self.image(key), self.lease(key)]);
        of_each.chain([self.absence(image)]).collect()
    }
}

fn hex(byte: &u8) -> String {
    format!("{byte:02x}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_known_of_an_image_lies_together_and_apart_from_other_origins() {
        let image = ImageId::parse("image-1").unwrap();
        let (here, there) = (
            KeyNames::new("pai", "a.example"),
            KeyNames::new("pai", "b.example"),
        );
        let all = here.all(&image);
        assert_eq!(all.len(), 5);
        assert!(all.iter().all(|name| name.contains(":{image-1}:")));
        assert!(!all.iter().any(|name| there.all(&image).contains(name)));
        // printf a.example | sha256sum
        assert_eq!(here.absence(&image), "pai:1:b8e74533:{image-1}:no");
        assert_eq!(
            here.write_nonces_since(),
            "pai:1:b8e74533:{pai:1:b8e74533:writes}:since"
        );
    }
}
