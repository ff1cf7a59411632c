//! The AIWorkSpace image API of Alibaba Cloud PAI, version 2021-02-04: ids, routes, queries, body fields and errors.
//!
//! Every function here is pure: bytes in, values out. [`Call::classify`] parses a request once; later code handles
//! [`ImageKey`]s and [`Operation`]s instead of strings. The rules follow the vendor's documentation and the bytes
//! that its SDKs put on the wire.

mod body;
mod call;
mod error;
mod image_page;
mod label_path;
mod query;
mod resolve;
mod route;
mod write_body;

pub use body::{Accessibility, ImageFields, NotAnObject, Ownership, parse_timestamp};
pub use call::{Call, RouteError};
pub use error::{ErrorBody, OriginError};
pub use image_page::{IMAGE_MEMBERS, ImagePage};
pub use query::{Query, RESERVED, encode};
pub use resolve::{ImageUri, ResolveItem, ResolveRequest};
pub use write_body::check_keys;

use std::fmt;

use compact_str::CompactString;
use http::Method;
use strum::{IntoStaticStr, VariantArray};

/// API version that every request names in `x-acs-version`.
pub const VERSION: &str = "2021-02-04";

/// Path of Resolve, the gateway's own operation.
const RESOLVE: &str = "/gateway/v1/resolve";

/// Id of an image, decoded: `[A-Za-z0-9][A-Za-z0-9_-]{0,127}`.
///
/// Ids of up to 24 bytes are stored inline; the service's own ids are `image-` and 18 letters.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ImageId(CompactString);

/// Error of a request that breaks a rule of the API. The text states the rule and never quotes the request.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Malformed(String);

impl Malformed {
    /// Makes the error from a text for the client.
    #[must_use]
    pub fn new(problem: &str) -> Self {
        Self(problem.to_owned())
    }

    /// Adds the place of the error within a list.
    fn at(self, place: &str) -> Self {
        Self(format!("{place}: {}", self.0))
    }
}

impl ImageId {
    const MAX_LEN: usize = 128;

    /// Parses a decoded id; a percent escape in it is an error.
    ///
    /// # Errors
    /// [`Malformed`] unless the text has the form of [`ImageId`].
    pub fn parse(text: &str) -> Result<Self, Malformed> {
        let bytes = text.as_bytes();
        let belongs = |byte: &u8| byte.is_ascii_alphanumeric() | matches!(byte, b'_' | b'-');
        let valid = bytes.len() <= Self::MAX_LEN
            && bytes.first().is_some_and(u8::is_ascii_alphanumeric)
            // No early exit: the compiler vectorizes a loop over all bytes.
            && bytes.iter().fold(true, |all, byte| all & belongs(byte));
        if !valid {
            return Err(Malformed::new(
                "ImageId must be 1 to 128 letters, digits, '-' or '_', and start with a letter or a digit",
            ));
        }
        Ok(Self(CompactString::new(text)))
    }

    /// Returns the id as the origin spells it.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ImageId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Cache key of a GetImage response: one image, with or without its labels.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ImageKey {
    /// Id of the image.
    pub image: ImageId,
    /// `Verbose=true`: the response includes `Labels`.
    pub verbose: bool,
}

impl ImageKey {
    /// Returns both variants of one image, the one without labels first.
    #[must_use]
    pub fn variants(image: &ImageId) -> [Self; 2] {
        [false, true].map(|verbose| Self {
            image: image.clone(),
            verbose,
        })
    }
}

/// Operation of the API with the parameters of its path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Operation {
    /// Read one image: the cached operation.
    GetImage(ImageKey),
    /// Search images.
    ListImages,
    /// Search labels.
    ListImageLabels,
    /// Register an image.
    AddImage,
    /// Add labels to an image.
    AddImageLabels(ImageId),
    /// Remove labels from an image; the keys are one decoded path segment, separated by commas.
    RemoveImageLabels(ImageId, String),
    /// Make an image visible to its workspace.
    PublishImage(ImageId),
    /// Delete an image.
    RemoveImage(ImageId),
    /// Read many images with one request. Only the gateway has this operation, the origin does not.
    Resolve,
}

/// Name of an operation, as `x-acs-action`, metrics and logs spell it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, IntoStaticStr, VariantArray)]
#[expect(
    missing_docs,
    reason = "the variants are the API's own operation names"
)]
pub enum Action {
    GetImage,
    ListImages,
    ListImageLabels,
    AddImage,
    AddImageLabels,
    RemoveImageLabels,
    PublishImage,
    RemoveImage,
    Resolve,
    /// Request without an operation of this API.
    #[strum(serialize = "unknown")]
    Unknown,
}

impl Action {
    /// Every action in the order of the discriminants.
    pub const ALL: [Self; Self::VARIANTS.len()] =
        *Self::VARIANTS.first_chunk().expect("it has its own length");

    /// Returns the API's spelling; `unknown` for [`Action::Unknown`].
    #[must_use]
    pub fn as_str(self) -> &'static str {
        self.into()
    }

    /// Returns the operation's query parameters in the API's spelling, from the SDKs' models and the vendor's
    /// documentation; [`Call::classify`] rejects any other.
    #[must_use]
    pub const fn parameters(self) -> &'static [&'static str] {
        match self {
            Self::GetImage => &["Verbose"],
            Self::ListImages => &[
                "Accessibility",
                "ImageUri",
                "Labels",
                "Name",
                "Options",
                "Order",
                "PageNumber",
                "PageSize",
                "Query",
                "SortBy",
                "Verbose",
                "WorkspaceId",
            ],
            Self::ListImageLabels => &[
                "ImageId",
                "LabelFilter",
                "LabelKeys",
                "Region",
                "WorkspaceId",
            ],
            Self::AddImage
            | Self::AddImageLabels
            | Self::RemoveImageLabels
            | Self::PublishImage
            | Self::RemoveImage
            | Self::Resolve
            | Self::Unknown => &[],
        }
    }

    /// Returns the action of a RAM policy that permits the operation, such as `paiimage:GetImage`; `None` for what the
    /// origin does not have. Each operation's page names it under "RAM authorization", always for the resource `*`.
    #[must_use]
    pub fn ram_action(self) -> Option<String> {
        match self {
            Self::Resolve | Self::Unknown => None,
            action => Some(format!("paiimage:{}", action.as_str())),
        }
    }

    /// Returns whether the operation may change data of the origin.
    #[must_use]
    pub const fn is_write(self) -> bool {
        match self {
            Self::GetImage
            | Self::ListImages
            | Self::ListImageLabels
            | Self::Resolve
            | Self::Unknown => false,
            Self::AddImage
            | Self::AddImageLabels
            | Self::RemoveImageLabels
            | Self::PublishImage
            | Self::RemoveImage => true,
        }
    }
}

impl Operation {
    /// Returns the operation's name.
    #[must_use]
    pub const fn action(&self) -> Action {
        match self {
            Self::GetImage(_) => Action::GetImage,
            Self::ListImages => Action::ListImages,
            Self::ListImageLabels => Action::ListImageLabels,
            Self::AddImage => Action::AddImage,
            Self::AddImageLabels(_) => Action::AddImageLabels,
            Self::RemoveImageLabels(..) => Action::RemoveImageLabels,
            Self::PublishImage(_) => Action::PublishImage,
            Self::RemoveImage(_) => Action::RemoveImage,
            Self::Resolve => Action::Resolve,
        }
    }

    /// Returns the HTTP method of the operation.
    #[must_use]
    pub const fn method(&self) -> Method {
        match self {
            Self::GetImage(_) | Self::ListImages | Self::ListImageLabels => Method::GET,
            Self::AddImage | Self::AddImageLabels(_) | Self::Resolve => Method::POST,
            Self::PublishImage(_) => Method::PUT,
            Self::RemoveImageLabels(..) | Self::RemoveImage(_) => Method::DELETE,
        }
    }

    /// Returns whether the operation may change data of the origin.
    #[must_use]
    pub const fn is_write(&self) -> bool {
        self.action().is_write()
    }

    /// Returns the image that the operation's path names.
    #[must_use]
    pub const fn image(&self) -> Option<&ImageId> {
        match self {
            Self::GetImage(key) => Some(&key.image),
            Self::AddImageLabels(image)
            | Self::RemoveImageLabels(image, _)
            | Self::PublishImage(image)
            | Self::RemoveImage(image) => Some(image),
            Self::ListImages | Self::ListImageLabels | Self::AddImage | Self::Resolve => None,
        }
    }

    /// Returns the operation's path, each segment escaped by RFC 3986, as ACS3 signs it.
    #[must_use]
    pub fn path(&self) -> String {
        match self {
            Self::GetImage(ImageKey { image, .. }) | Self::RemoveImage(image) => {
                format!("/api/v1/images/{image}")
            }
            Self::ListImages | Self::AddImage => "/api/v1/images".to_owned(),
            Self::ListImageLabels => "/api/v1/image/labels".to_owned(),
            Self::AddImageLabels(image) => format!("/api/v1/images/{image}/labels"),
            Self::RemoveImageLabels(image, labels) => {
                format!("/api/v1/images/{image}/labels/{}", encode(labels))
            }
            Self::PublishImage(image) => format!("/api/v1/images/{image}/publish"),
            Self::Resolve => RESOLVE.to_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_one_to_128_safe_bytes() {
        for good in ["a", "image-4c62abcdefghij53uo", "0_-", &"x".repeat(128)] {
            assert_eq!(ImageId::parse(good).unwrap().as_str(), good);
        }
        for bad in [
            "",
            "-a",
            "_a",
            "a.b",
            "a b",
            "a/b",
            "é",
            "a\0",
            &"x".repeat(129),
        ] {
            assert!(ImageId::parse(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn actions_are_listed_in_discriminant_order() {
        for (index, action) in Action::ALL.into_iter().enumerate() {
            assert_eq!(action as usize, index);
        }
    }
}
