//! Names of the keys and of the channel in the server.

use aws_lc_rs::digest::{SHA256, digest};

use super::walks::{WalkGroup, WalkName};
use crate::api::{Action, ImageId, ImageKey};

/// Version of the stored format. It is part of every name, so that two versions share nothing.
const VERSION: u32 = 1;

/// Names of one fleet's keys and of its channel, for the answers of one origin.
#[derive(Debug, Clone)]
pub(super) struct KeyNames {
    /// `prefix:version:origin:`
    base: String,
}

impl KeyNames {
    /// Builds the names from the configured prefix and a digest of the origin's host, so that gateways of two
    /// regions can use one server.
    pub(super) fn new(prefix: &str, origin: &str) -> Self {
        let sum = digest(&SHA256, origin.as_bytes());
        let origin: String = sum.as_ref().iter().take(4).map(hex).collect();
        Self {
            base: format!("{prefix}:{VERSION}:{origin}:"),
        }
    }

    /// The invalidation log, a stream.
    pub(super) fn log(&self) -> String {
        format!("{}orders", self.base)
    }

    /// Key that a replica writes with each read of the log, on the log's node of a cluster.
    pub(super) fn write_probe(&self, replica: &str) -> String {
        format!("{0}{{{0}orders}}:alive:{replica}", self.base)
    }

    /// Key that a replica writes over a second connection, on the log's node of a cluster.
    pub(super) fn address_probe(&self, replica: &str) -> String {
        format!("{0}{{{0}orders}}:met:{replica}", self.base)
    }

    /// Stream for the self-test, which no replica reads.
    pub(super) fn trial_log(&self) -> String {
        format!("{}trial", self.base)
    }

    /// Channel whose messages wake waiting lookups and log readers.
    pub(super) fn channel(&self) -> String {
        format!("{}news", self.base)
    }

    /// Key of the time from which on the record of write nonces is complete.
    pub(super) fn write_nonces_since(&self) -> String {
        self.write_nonces("since")
    }

    /// Key of one write's nonce, named by the digest of access key and nonce.
    pub(super) fn write_nonce(&self, fingerprint: &[u8; 32]) -> String {
        let digest: String = fingerprint.iter().map(hex).collect();
        self.write_nonces(&digest)
    }

    fn write_nonces(&self, what: &str) -> String {
        // The braces put all of them on one node of a cluster, for a script reads two.
        format!("{0}{{{0}writes}}:{what}", self.base)
    }

    /// Keys of an operation's pace: its slots, its latest throttle, and the replicas whose clients wait.
    pub(super) fn pace(&self, action: Action) -> [String; 3] {
        let of = |what| self.of_pace(&format!("{}:{what}", action.as_str()));
        [of("slots"), of("throttle"), of("waiting")]
    }

    /// Key of the fleet's replicas.
    pub(super) fn replicas(&self) -> String {
        self.of_pace("replicas")
    }

    /// Key of the lease of a group's walks.
    pub(super) fn walk_lease(&self, group: &WalkGroup) -> String {
        self.of_walks(&format!("lease:{group}"))
    }

    /// Key of the description of a scope's latest whole walk.
    pub(super) fn walk(&self, name: &WalkName) -> String {
        self.of_walks(&format!("latest:{name}"))
    }

    /// Key of a page of the walk of this number under the lease of this token.
    pub(super) fn walk_page(&self, token: &str, walk: u64, number: u64) -> String {
        self.of_walks(&format!("page:{token}:{walk}:{number}"))
    }

    fn of_walks(&self, what: &str) -> String {
        // The braces put all of them on one node of a cluster, for a script reads two.
        format!("{0}{{{0}walks}}:{what}", self.base)
    }

    fn of_pace(&self, what: &str) -> String {
        // The braces put all of them on one node of a cluster, for a script reads three.
        format!("{0}{{{0}pace}}:{what}", self.base)
    }

    fn of(&self, image: &ImageId, what: &str) -> String {
        // The braces put all keys of one image on one node of a cluster, as the scripts require.
        format!("{}{{{}}}:{what}", self.base, image.as_str())
    }

    /// Key of one variant of an image.
    pub(super) fn image(&self, key: &ImageKey) -> String {
        let what = if key.verbose {
            "image:verbose"
        } else {
            "image"
        };
        self.of(&key.image, what)
    }

    /// Key of a negative answer, which stands for both variants.
    pub(super) fn absence(&self, image: &ImageId) -> String {
        self.of(image, "no")
    }

    /// Key of the lease, or of the failure marker in its place.
    pub(super) fn lease(&self, key: &ImageKey) -> String {
        let what = if key.verbose {
            "lease:verbose"
        } else {
            "lease"
        };
        self.of(&key.image, what)
    }

    /// All keys of an image, leases included: an invalidation deletes them.
    pub(super) fn all(&self, image: &ImageId) -> Vec<String> {
        let variants = ImageKey::variants(image);
        let of_each = variants
            .iter()
            .flat_map(|key| [self.image(key), self.lease(key)]);
        of_each.chain([self.absence(image)]).collect()
    }
}

pub(super) fn hex(byte: &u8) -> String {
    format!("{byte:02x}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_keys_of_an_image_share_a_node_and_differ_between_origins() {
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
