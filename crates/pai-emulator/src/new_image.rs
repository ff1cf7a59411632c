//! Request body of `AddImage`.

use serde::Deserialize;

use super::api_error::ApiError;
use super::generated;
use super::image::{Accessibility, Image, Label};
use super::store::Store;
use pai_api::ImageId;

/// Parsed body of `AddImage`.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct NewImage {
    name: String,
    image_uri: String,
    image_id: Option<String>,
    #[serde(default)]
    description: String,
    #[serde(default)]
    accessibility: Accessibility,
    #[serde(default)]
    labels: Vec<Label>,
    /// Size in GB; every response has it in bytes.
    #[serde(default)]
    size: u32,
    #[serde(default)]
    source_type: String,
    #[serde(default)]
    source_id: String,
    user_id: Option<String>,
    workspace_id: Option<String>,
}

impl NewImage {
    /// Returns the image to store, registered at the current time.
    pub(super) fn into_image(self, store: &Store) -> Result<Image, ApiError> {
        check_name(&self.name)?;
        let image_id = self.image_id.unwrap_or_else(|| {
            // Above every index of a generated image.
            generated::id(fastrand::usize(1 << 31..))
        });
        ImageId::parse(&image_id)?;
        let now = store.now();
        Ok(Image {
            gmt_create_time: now,
            gmt_modified_time: now,
            name: self.name,
            description: self.description,
            image_uri: self.image_uri,
            user_id: self.user_id.unwrap_or_else(|| generated::USER.to_owned()),
            parent_user_id: generated::USER.to_owned(),
            workspace_id: self.workspace_id,
            accessibility: self.accessibility,
            size: u64::from(self.size) << 30,
            source_type: self.source_type,
            source_id: self.source_id,
            image_id,
            identity: None,
            signature: None,
            labels: self.labels,
        })
    }
}

fn check_name(name: &str) -> Result<(), ApiError> {
    let mut bytes = name.bytes();
    let valid = name.len() <= 50
        && bytes.next().is_some_and(|first| first.is_ascii_lowercase())
        && bytes.all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-');
    if valid {
        return Ok(());
    }
    Err(ApiError::invalid_parameter(
        "Name must be 1 to 50 lower-case letters, digits or '-', and start with a letter",
    ))
}
