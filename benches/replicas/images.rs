//! The requested images, with the newest version of each and the time of its change.

use std::time::{Duration, Instant};

use pai_image_gateway::emulator::{Emulator, Store};
use parking_lot::RwLock;

use super::Outcome;

/// Every image by its place.
pub(crate) struct Images {
    ids: Vec<String>,
    newest: RwLock<Vec<Option<Version>>>,
}

/// What an image was changed to.
#[derive(Clone)]
struct Version {
    since: Instant,
    /// Its modification time, which every answer with it has.
    mark: String,
}

impl Images {
    pub(crate) fn new(count: usize) -> Self {
        Self {
            ids: (0..count).map(Store::id).collect(),
            newest: RwLock::new(vec![None; count]),
        }
    }

    pub(crate) fn ids(&self) -> &[String] {
        &self.ids
    }

    /// Changes an image at the origin.
    pub(crate) fn change(&self, place: usize, origin: &Emulator) -> Outcome<()> {
        let id = &self.ids[place];
        origin.store().touch(id)?;
        let changed = origin.store().get(id).ok_or("the image is gone")?;
        // "修改于 TIME", as it stands in the answer's GmtModifiedTime too.
        let first = changed.description.lines().next().unwrap_or("");
        let mark = first.split(' ').next_back().unwrap_or("").to_owned();
        let since = Instant::now();
        self.newest.write()[place] = Some(Version { since, mark });
        Ok(())
    }

    /// How long an answer had been out of date when it was asked for.
    pub(crate) fn staleness(&self, place: usize, body: &str, asked: Instant) -> Duration {
        let newest = self.newest.read();
        match &newest[place] {
            Some(version) if !body.contains(&version.mark) => {
                asked.saturating_duration_since(version.since)
            }
            _ => Duration::ZERO,
        }
    }

    /// Whether an answer is what the image was changed to.
    pub(crate) fn is_changed(&self, place: usize, body: &str) -> bool {
        let newest = self.newest.read();
        let version = newest[place].as_ref();
        version.is_some_and(|version| body.contains(&version.mark))
    }
}
