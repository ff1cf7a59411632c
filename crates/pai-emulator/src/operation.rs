//! Operations: the effect of each on the store, and its response body.

use std::collections::BTreeSet;

use bytes::Bytes;
use serde::Serialize;

use super::api_error::ApiError;
use super::image::{ImageView, Label};
use super::image_search::ImageSearch;
use super::label_search::LabelSearch;
use super::store::{Members, Store};
use super::write;
use pai_api::{Call, Operation, Query};

/// Performs a call and returns the response's body.
pub(super) fn perform(
    store: &Store,
    call: &Call,
    body: &[u8],
    request_id: &str,
) -> Result<Bytes, ApiError> {
    let image_id = match &call.operation {
        Operation::GetImage(key) => {
            let id = key.image.as_str();
            let found = store.body(id, request_id, key.verbose);
            return found.ok_or_else(|| ApiError::image_not_found(id));
        }
        Operation::ListImages => return list_images(store, &call.query, request_id),
        Operation::ListImageLabels => return list_labels(store, &call.query, request_id),
        Operation::AddImage => Some(write::add_image(store, body)?),
        Operation::AddImageLabels(image) => write::add_labels(store, image.as_str(), body)?,
        Operation::RemoveImageLabels(image, keys) => {
            write::remove_labels(store, image.as_str(), keys)?
        }
        Operation::PublishImage(image) => Some(write::publish(store, image.as_str())?),
        Operation::RemoveImage(image) => write::remove(store, image.as_str())?,
        Operation::Resolve => return Err(ApiError::route_not_found()),
    };
    Ok(to_bytes(&WriteResponse {
        request_id,
        image_id,
    }))
}

fn list_images(store: &Store, query: &Query, request_id: &str) -> Result<Bytes, ApiError> {
    let search = ImageSearch::parse(query).map_err(ApiError::invalid_parameter)?;
    let page = store.search(&search);
    let images = page.images.iter();
    let images = images.map(|image| {
        let own = image.render(None, search.verbose);
        match store.listed(&image.image_id) {
            None => ListedImage::Own(own),
            Some(others) => ListedImage::Otherwise(overlaid(&own, others)),
        }
    });
    Ok(to_bytes(&ImageList {
        request_id,
        images: images.collect::<Vec<_>>(),
        total_count: page.total,
    }))
}

/// Returns an image's members, with others in place of some.
fn overlaid(own: &ImageView<'_>, others: Members) -> Members {
    let own = serde_json::to_value(own).ok();
    let mut members = own
        .and_then(|own| own.as_object().cloned())
        .unwrap_or_default();
    members.extend(others);
    members
}

fn list_labels(store: &Store, query: &Query, request_id: &str) -> Result<Bytes, ApiError> {
    let wanted = LabelSearch::parse(query).map_err(ApiError::invalid_parameter)?;
    if let Some(image) = &wanted.image
        && store.get(image).is_none()
    {
        return Err(ApiError::image_not_found(image));
    }
    let mut labels = BTreeSet::new();
    store.visit(|image| labels.extend(wanted.labels_of(image).cloned()));
    Ok(to_bytes(&LabelList {
        request_id,
        total_count: labels.len(),
        labels,
    }))
}

fn to_bytes(answer: &impl Serialize) -> Bytes {
    serde_json::to_vec(answer)
        .expect("answers have only text, numbers and lists, which always serialize")
        .into()
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct WriteResponse<'a> {
    request_id: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    image_id: Option<String>,
}

/// Response body of a search. SDKs find the page by its only list, so there must be no second one.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct ImageList<'a, I> {
    request_id: &'a str,
    images: I,
    total_count: usize,
}

/// Item of a search.
#[derive(Serialize)]
#[serde(untagged)]
enum ListedImage<'a> {
    /// The image as GetImage shows it.
    Own(ImageView<'a>),
    /// The image as a test makes lists show it.
    Otherwise(Members),
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct LabelList<'a> {
    request_id: &'a str,
    labels: BTreeSet<Label>,
    total_count: usize,
}

#[cfg(test)]
mod tests {
    use http::Method;

    use super::super::harness::Harness;
    use super::super::{Image, Settings};
    use super::*;
    use pai_api::Action;

    #[tokio::test]
    async fn labels_are_answered_to_the_verbose_only() {
        let harness = Harness::start(Settings::default()).await;
        let target = format!("/api/v1/images/{}", Store::id(0));
        let plain = harness
            .ask(Method::GET, &target, Action::GetImage, "")
            .await
            .json();
        assert!(plain.get("Labels").is_none());
        assert!(plain["WorkspaceId"].is_null() && plain["Identity"].is_null());
        let target = format!("{target}?Verbose=True");
        let verbose = harness
            .ask(Method::GET, &target, Action::GetImage, "")
            .await
            .json();
        let official = serde_json::json!({ "Key": "system.official", "Value": "true" });
        assert_eq!(verbose["Labels"][0], official);
        assert_eq!(verbose["ImageUri"], plain["ImageUri"]);
    }

    #[tokio::test]
    async fn a_list_has_one_list_and_the_total() {
        let harness = Harness::start(Settings::default()).await;
        let target = "/api/v1/images?Labels=system.official%3Dtrue&PageSize=7&Verbose=True";
        let list = harness
            .ask(Method::GET, target, Action::ListImages, "")
            .await
            .json();
        let fields = list.as_object().unwrap();
        assert_eq!(fields.values().filter(|value| value.is_array()).count(), 1);
        assert_eq!(list["TotalCount"], 25);
        let images = list["Images"].as_array().unwrap();
        assert_eq!(images.len(), 7);
        assert!(images.iter().all(|image| image["Labels"].is_array()));
        assert!(images.iter().all(|image| image.get("RequestId").is_none()));
        let bad = harness
            .ask(
                Method::GET,
                "/api/v1/images?PageSize=0",
                Action::ListImages,
                "",
            )
            .await;
        assert_eq!(bad.code(), "InvalidParameter");
    }

    #[tokio::test]
    async fn labels_are_listed_once_each() {
        let harness = Harness::start(Settings {
            images: 0,
            ..Settings::default()
        })
        .await;
        for (index, value) in [(1, "GPU"), (2, "CPU"), (5, "GPU")] {
            let image = super::super::generated::image(index, jiff::Timestamp::now());
            harness.emulator.store().put(Image {
                labels: vec![
                    Label::new("chip", value),
                    Label::new("n", &index.to_string()),
                ],
                ..image
            });
        }
        let ask = async |query: &str| {
            let target = format!("/api/v1/image/labels?{query}");
            harness
                .ask(Method::GET, &target, Action::ListImageLabels, "")
                .await
        };
        let total = async |query: &str| ask(query).await.json()["TotalCount"].clone();
        assert_eq!(total("").await, 5);
        assert_eq!(total("LabelKeys=chip").await, 2);
        assert_eq!(total("LabelFilter=chip%3DGPU&LabelKeys=n").await, 2);
        assert_eq!(total("WorkspaceId=20817").await, 2);
        assert_eq!(total(&format!("ImageId={}", Store::id(5))).await, 2);
        assert_eq!(ask("ImageId=image-none").await.code(), "ImageNotFound");
    }
}
