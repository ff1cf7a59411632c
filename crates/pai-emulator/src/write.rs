//! Operations that change images.

use http::StatusCode;
use serde::Deserialize;

use super::api_error::ApiError;
use super::image::{Accessibility, Image, Label};
use super::new_image::NewImage;
use super::store::{ModifyError, Store};

pub(super) fn add_image(store: &Store, body: &[u8]) -> Result<String, ApiError> {
    let new: NewImage = read(body)?;
    if store.len() >= Store::CAPACITY {
        let message = "The number of images has reached its limit.";
        return Err(ApiError::new(
            StatusCode::BAD_REQUEST,
            "QuotaExceeded",
            message,
        ));
    }
    let image = new.into_image(store)?;
    let (id, name, workspace) = (
        image.image_id.clone(),
        image.name.clone(),
        image.workspace_id.clone(),
    );
    let clashes = |other: &Image| other.name == name && other.workspace_id == workspace;
    if store.add(image, clashes) {
        return Ok(id);
    }
    let message = format!("An image with the id {id} or the name {name} exists already.");
    Err(ApiError::new(
        StatusCode::BAD_REQUEST,
        "ImageAlreadyExists",
        message,
    ))
}

pub(super) fn add_labels(
    store: &Store,
    image: &str,
    body: &[u8],
) -> Result<Option<String>, ApiError> {
    let NewLabels { labels } = read(body)?;
    let changed = store.relabel(image, |image| {
        image
            .labels
            .retain(|old| labels.iter().all(|new| new.key != old.key));
        image.labels.extend(labels);
    });
    changed.map_err(|why| modify_error(image, why))?;
    Ok(None)
}

pub(super) fn remove_labels(
    store: &Store,
    image: &str,
    keys: &str,
) -> Result<Option<String>, ApiError> {
    let changed = store.relabel(image, |image| {
        image
            .labels
            .retain(|label| keys.split(',').all(|key| key != label.key));
    });
    changed.map_err(|why| modify_error(image, why))?;
    Ok(None)
}

pub(super) fn publish(store: &Store, image: &str) -> Result<String, ApiError> {
    let changed = store.modify(image, |image| image.accessibility = Accessibility::Public);
    changed.map_err(|why| modify_error(image, why))?;
    Ok(image.to_owned())
}

pub(super) fn remove(store: &Store, image: &str) -> Result<Option<String>, ApiError> {
    if store.remove(image) {
        Ok(None)
    } else {
        Err(ApiError::image_not_found(image))
    }
}

fn modify_error(image: &str, why: ModifyError) -> ApiError {
    match why {
        ModifyError::Missing => ApiError::image_not_found(image),
        ModifyError::Raw => {
            ApiError::new(StatusCode::CONFLICT, "Emulator.RawImage", why.to_string())
        }
    }
}

fn read<'a, T: Deserialize<'a>>(body: &'a [u8]) -> Result<T, ApiError> {
    serde_json::from_slice(body)
        .map_err(|error| ApiError::invalid_parameter(format!("The body is not valid: {error}")))
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct NewLabels {
    labels: Vec<Label>,
}

#[cfg(test)]
mod tests {
    use http::Method;
    use jiff::Timestamp;

    use super::super::Settings;
    use super::super::harness::{Harness, HarnessReply};
    use super::*;
    use pai_api::Action;

    async fn harness() -> Harness {
        Harness::start(Settings::default()).await
    }

    async fn add(harness: &Harness, body: &str) -> HarnessReply {
        harness
            .ask(Method::POST, "/api/v1/images", Action::AddImage, body)
            .await
    }

    #[tokio::test]
    async fn an_added_image_is_returned_with_its_fields() {
        let harness = harness().await;
        let body = r#"{"Name":"nlp-x","ImageUri":"r/x:1","Description":"NLP 模型 \"x\"","Size":2,
            "Accessibility":"PUBLIC","WorkspaceId":"15945","Labels":[{"Key":"k","Value":"v"}]}"#;
        let added = add(&harness, body).await.json();
        let id = added["ImageId"].as_str().unwrap();
        let image = harness.emulator.store().get(id).unwrap();
        assert_eq!(
            (image.size, image.description.as_str()),
            (2 << 30, "NLP 模型 \"x\"")
        );
        assert_eq!(image.labels, [Label::new("k", "v")]);
        assert!(
            Timestamp::now()
                .duration_since(image.gmt_create_time)
                .as_secs()
                < 60
        );
        assert_eq!(harness.fetch(id).await.json()["Accessibility"], "PUBLIC");
        assert_eq!(add(&harness, body).await.code(), "ImageAlreadyExists");
    }

    #[tokio::test]
    async fn an_image_that_cannot_be_is_not_added() {
        let harness = harness().await;
        for bad in [
            "",
            "[]",
            r#"{"Name":"a"}"#,
            r#"{"Name":"Upper","ImageUri":"r/x:1"}"#,
            r#"{"Name":"a","ImageUri":"r/x:1","ImageId":"a/b"}"#,
            r#"{"Name":"a","ImageUri":"r/x:1","Accessibility":"SECRET"}"#,
        ] {
            assert_eq!(add(&harness, bad).await.code(), "InvalidParameter", "{bad}");
        }
        assert_eq!(harness.emulator.store().len(), 100);
    }

    #[tokio::test]
    async fn labels_change_and_the_modified_time_does_not() {
        let harness = harness().await;
        let id = Store::id(1);
        let before = harness.emulator.store().get(&id).unwrap();
        let (path, body) = (
            format!("/api/v1/images/{id}/labels"),
            r#"{"Labels":[{"Key":"system.chipType","Value":"PPU"},{"Key":"a,b","Value":""},{"Key":"c","Value":"1"}]}"#,
        );
        let reply = harness
            .ask(Method::POST, &path, Action::AddImageLabels, body)
            .await;
        assert_eq!(reply.status, 200);
        let labelled = harness.emulator.store().get(&id).unwrap();
        assert_eq!(labelled.labels.len(), before.labels.len() + 2);
        assert!(
            labelled
                .labels
                .contains(&Label::new("system.chipType", "PPU"))
        );
        let path = format!("{path}/system.chipType%2Cc%2Cunknown");
        let reply = harness
            .ask(Method::DELETE, &path, Action::RemoveImageLabels, "")
            .await;
        assert_eq!(reply.status, 200);
        let after = harness.emulator.store().get(&id).unwrap();
        assert_eq!(after.labels.len(), before.labels.len());
        assert_eq!(after.gmt_modified_time, before.gmt_modified_time);
    }

    #[tokio::test]
    async fn publishing_makes_public_and_moves_the_modified_time() {
        let harness = harness().await;
        let id = Store::id(3);
        let before = harness.emulator.store().get(&id).unwrap();
        assert_eq!(before.accessibility, Accessibility::Private);
        let path = format!("/api/v1/images/{id}/publish");
        let reply = harness
            .ask(Method::PUT, &path, Action::PublishImage, "")
            .await;
        assert_eq!(reply.json()["ImageId"], id.as_str());
        let after = harness.emulator.store().get(&id).unwrap();
        assert_eq!(after.accessibility, Accessibility::Public);
        assert!(after.gmt_modified_time > before.gmt_modified_time);
    }

    #[tokio::test]
    async fn a_removed_image_is_gone_for_every_operation() {
        let harness = harness().await;
        let path = format!("/api/v1/images/{}", Store::id(1));
        let labels = format!("{path}/labels");
        let remove = harness
            .ask(Method::DELETE, &path, Action::RemoveImage, "")
            .await;
        assert_eq!(remove.status, 200);
        let body = r#"{"Labels":[]}"#;
        for reply in [
            harness.ask(Method::GET, &path, Action::GetImage, "").await,
            harness
                .ask(Method::DELETE, &path, Action::RemoveImage, "")
                .await,
            harness
                .ask(Method::POST, &labels, Action::AddImageLabels, body)
                .await,
            harness
                .ask(
                    Method::DELETE,
                    &format!("{labels}/k"),
                    Action::RemoveImageLabels,
                    "",
                )
                .await,
            harness
                .ask(
                    Method::PUT,
                    &format!("{path}/publish"),
                    Action::PublishImage,
                    "",
                )
                .await,
        ] {
            assert_eq!(
                (reply.status, reply.code().as_str()),
                (404, "ImageNotFound")
            );
        }
    }

    #[tokio::test]
    async fn an_image_stored_as_bytes_is_not_changed_by_halves() {
        let harness = harness().await;
        harness.emulator.store().put_raw("image-raw", "{}");
        let path = "/api/v1/images/image-raw/publish";
        let reply = harness
            .ask(Method::PUT, path, Action::PublishImage, "")
            .await;
        assert_eq!(
            (reply.status, reply.code().as_str()),
            (409, "Emulator.RawImage")
        );
    }
}
