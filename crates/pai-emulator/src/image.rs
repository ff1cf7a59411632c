//! Image and its fields, as the API defines them.

use jiff::Timestamp;
use serde::{Deserialize, Serialize, Serializer};

use super::clock;

/// Fields of an image, in the order of the API's responses.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Image {
    /// Time of its registration.
    #[serde(serialize_with = "milliseconds")]
    pub gmt_create_time: Timestamp,
    /// Time of its last change; a change of labels does not move it.
    #[serde(serialize_with = "milliseconds")]
    pub gmt_modified_time: Timestamp,
    /// Its name.
    pub name: String,
    /// Free text for people; often several lines, often Chinese.
    pub description: String,
    /// Registry address of the image.
    pub image_uri: String,
    /// User who registered it.
    pub user_id: String,
    /// Account of that user.
    pub parent_user_id: String,
    /// Workspace of the image; official images have none.
    pub workspace_id: Option<String>,
    /// Visibility of the image.
    pub accessibility: Accessibility,
    /// Size in bytes.
    pub size: u64,
    /// `Import` or `Build`, or empty.
    pub source_type: String,
    /// Source that it was made from, or empty.
    pub source_id: String,
    /// Its id.
    pub image_id: String,
    /// Null in every recorded response.
    pub identity: Option<String>,
    /// Null in every recorded response.
    pub signature: Option<String>,
    /// Labels; part of a response only with `Verbose=true`.
    #[serde(skip)]
    pub labels: Vec<Label>,
}

/// Label of an image: a key and a value.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Label {
    /// Such as `system.chipType`.
    pub key: String,
    /// Such as `GPU`.
    pub value: String,
}

impl Label {
    pub(super) fn new(key: &str, value: &str) -> Self {
        Self {
            key: key.to_owned(),
            value: value.to_owned(),
        }
    }
}

/// Visibility of an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Accessibility {
    /// Visible in its workspace, or to everybody if it has none.
    Public,
    /// Visible to its creator only.
    #[default]
    Private,
}

/// Image as a response contains it.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct ImageView<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) request_id: Option<&'a str>,
    #[serde(flatten)]
    pub(super) image: &'a Image,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) labels: Option<&'a [Label]>,
}

impl Image {
    pub(super) fn render<'a>(
        &'a self,
        request_id: Option<&'a str>,
        verbose: bool,
    ) -> ImageView<'a> {
        ImageView {
            request_id,
            image: self,
            labels: verbose.then_some(self.labels.as_slice()),
        }
    }
}

fn milliseconds<S: Serializer>(time: &Timestamp, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&clock::to_text(*time))
}
