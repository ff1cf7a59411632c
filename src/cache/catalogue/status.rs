//! The catalogue in `/status`.

use jiff::Timestamp;
use serde::{Serialize, Serializer};

/// The catalogue's object in `/status`.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct CatalogueStatus {
    /// Images with an item.
    pub images: u64,
    /// Memory of the items.
    pub bytes: u64,
    /// Bound of that memory.
    pub max_bytes: u64,
    /// Items answer for images that are not cached, of `Verbose=false` and `Verbose=true`.
    pub answering: [bool; 2],
    /// Differences of items and GetImage that were no change of the image.
    pub mismatches: u32,
    /// Each workspace, and the official images.
    pub scopes: Vec<ScopeStatus>,
}

/// One scope in `/status`.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ScopeStatus {
    /// Id of the workspace, or `official`.
    pub name: String,
    /// End of the last whole walk.
    #[serde(serialize_with = "as_text")]
    pub last_walk: Option<Timestamp>,
    /// Pages of the last whole walk.
    pub pages: u64,
    /// Reason for which it is not walked now: `denied` or `memory`.
    pub paused: Option<&'static str>,
}

fn as_text<S: Serializer>(time: &Option<Timestamp>, serializer: S) -> Result<S::Ok, S::Error> {
    time.map(|time| time.to_string()).serialize(serializer)
}
