//! `ListImageLabels`: selects labels, and the images that carry them.

use super::image::{Image, Label};
use super::image_search::{has_labels, parse_labels};
use pai_api::Query;

/// Parsed query of `ListImageLabels`.
#[derive(Default)]
pub(super) struct LabelSearch {
    pub(super) image: Option<String>,
    workspace: Option<String>,
    filter: Vec<Label>,
    keys: Option<Vec<String>>,
}

impl LabelSearch {
    pub(super) fn parse(query: &Query) -> Result<Self, String> {
        let mut search = Self::default();
        for (name, value) in query.pairs().filter(|(_, value)| !value.is_empty()) {
            match name {
                "ImageId" => search.image = Some(value.to_owned()),
                "WorkspaceId" => search.workspace = Some(value.to_owned()),
                "LabelFilter" => search.filter = parse_labels(value)?,
                "LabelKeys" => search.keys = Some(value.split(',').map(str::to_owned).collect()),
                // The emulator has a single region.
                "Region" => {}
                _ => return Err(format!("ListImageLabels has no parameter {name}")),
            }
        }
        Ok(search)
    }

    pub(super) fn labels_of<'a>(&'a self, image: &'a Image) -> impl Iterator<Item = &'a Label> {
        let chosen = self.image.as_ref().is_none_or(|id| *id == image.image_id)
            && (self.workspace.is_none() || self.workspace == image.workspace_id)
            && has_labels(image, &self.filter);
        let wanted = |label: &&Label| self.keys.as_ref().is_none_or(|k| k.contains(&label.key));
        image.labels.iter().filter(move |_| chosen).filter(wanted)
    }
}
