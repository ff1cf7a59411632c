//! An image as the API describes it.

use jiff::Timestamp;
use serde::{Deserialize, Serialize, Serializer};

use super::clock;

/// One image's fields, in the order they are answered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Image {
    /// When it was registered.
    #[serde(serialize_with = "milliseconds")]
    pub gmt_create_time: Timestamp,
    /// When it last changed; labels change without it.
    #[serde(serialize_with = "milliseconds")]
    pub gmt_modified_time: Timestamp,
    /// Its name.
    pub name: String,
    /// For a person; often several lines, often Chinese.
    pub description: String,
    /// Where the image lies.
    pub image_uri: String,
    /// Who registered it.
    pub user_id: String,
    /// The account that user belongs to.
    pub parent_user_id: String,
    /// Its workspace; official images have none.
    pub workspace_id: Option<String>,
    /// Who may see it.
    pub accessibility: Accessibility,
    /// Bytes.
    pub size: u64,
    /// `Import` or `Build`, or empty.
    pub source_type: String,
    /// What it was made from, or empty.
    pub source_id: String,
    /// Its id.
    pub image_id: String,
    /// Null in every recorded answer.
    pub identity: Option<String>,
    /// Null in every recorded answer.
    pub signature: Option<String>,
    /// Answered only where `Verbose=true`.
    #[serde(skip)]
    pub labels: Vec<Label>,
}

/// A label of an image.
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

/// Who may see an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Accessibility {
    /// The workspace, or everybody where there is none.
    Public,
    /// Its creator.
    #[default]
    Private,
}

/// An image as it stands in an answer.
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
