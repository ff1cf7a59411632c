//! Control routes under `/emulator/…`: unsigned requests that read and change a running emulator.
//!
//! - `GET counts`
//! - `POST faults`: a JSON list that replaces the script
//! - `GET images?limit=N`: ids
//! - `POST images/{id}/touch`: changes the image as its owner would
//! - `PUT images/{id}`: sets the exact bytes of the GetImage response
//! - `PUT images/{id}/listed`: a JSON object whose members lists show instead of the image's own; `{}` ends that

use bytes::Bytes;
use http::request::Parts;
use http::{HeaderValue, Method, Response, StatusCode, header};
use http_body_util::{BodyExt, Full};
use serde::Serialize;
use serde_json::json;

use super::clock;
use super::response::Body;
use super::script::Script;
use super::service::ApiService;
use super::store::{Members, ModifyError, Store};
use pai_api::{ImageId, Query};

/// Path prefix of the control routes.
pub(super) const PREFIX: &str = "/emulator/";

struct ControlError(StatusCode, String);

/// Answers one control request; `body` is `None` for one that is too large.
pub(super) fn answer(
    service: &ApiService,
    route: &str,
    head: &Parts,
    body: Option<Bytes>,
) -> Response<Body> {
    let segments: Vec<&str> = route.split('/').collect();
    let answer = match (&head.method, segments.as_slice(), body) {
        (_, _, None) => Err(ControlError(
            StatusCode::PAYLOAD_TOO_LARGE,
            "the body is larger than 1 MiB".to_owned(),
        )),
        (&Method::GET, ["counts"], _) => Ok(to_json(&service.counts())),
        (&Method::POST, ["faults"], Some(body)) => replace_faults(service, &body),
        (&Method::GET, ["images"], _) => list_ids(service, head.uri.query().unwrap_or("")),
        (&Method::POST, ["images", id, "touch"], _) => touch(service, id),
        (&Method::PUT, ["images", id], Some(body)) => put(service, id, body),
        (&Method::PUT, ["images", id, "listed"], Some(body)) => list_otherwise(service, id, &body),
        _ => Err(ControlError(
            StatusCode::NOT_FOUND,
            "there is no such control route".to_owned(),
        )),
    };
    match answer {
        Ok(body) => respond(StatusCode::OK, body),
        Err(ControlError(status, reason)) => respond(status, to_json(&json!({ "error": reason }))),
    }
}

fn replace_faults(service: &ApiService, body: &[u8]) -> Result<Vec<u8>, ControlError> {
    let faults = Script::parse_json(body).map_err(|error| bad_request(error.to_string()))?;
    let answer = to_json(&json!({ "faults": faults.len() }));
    service.script().replace(faults);
    Ok(answer)
}

fn list_ids(service: &ApiService, query: &str) -> Result<Vec<u8>, ControlError> {
    let query = Query::parse(query).map_err(|error| bad_request(error.to_string()))?;
    let mut limit = usize::MAX;
    for (name, value) in query.pairs() {
        let number = value.parse().ok().filter(|_| name == "limit");
        limit = number.ok_or_else(|| bad_request("the one parameter is limit, a number"))?;
    }
    Ok(to_json(&service.store().ids(limit)))
}

fn touch(service: &ApiService, id: &str) -> Result<Vec<u8>, ControlError> {
    let modified = service.store().touch(id).map_err(|why| {
        let status = match why {
            ModifyError::Missing => StatusCode::NOT_FOUND,
            ModifyError::Raw => StatusCode::CONFLICT,
        };
        ControlError(status, why.to_string())
    })?;
    Ok(to_json(
        &json!({ "GmtModifiedTime": clock::to_text(modified) }),
    ))
}

fn put(service: &ApiService, id: &str, body: Bytes) -> Result<Vec<u8>, ControlError> {
    let id = ImageId::parse(id).map_err(|error| bad_request(error.to_string()))?;
    if service.store().len() >= Store::CAPACITY {
        return Err(bad_request("there are too many images already"));
    }
    service.store().put_raw(id.as_str(), body);
    Ok(to_json(&json!({ "ImageId": id.as_str() })))
}

fn list_otherwise(service: &ApiService, id: &str, body: &[u8]) -> Result<Vec<u8>, ControlError> {
    let members: Members =
        serde_json::from_slice(body).map_err(|error| bad_request(error.to_string()))?;
    if service.store().get(id).is_none() {
        return Err(ControlError(
            StatusCode::NOT_FOUND,
            ModifyError::Missing.to_string(),
        ));
    }
    let answer = to_json(&json!({ "members": members.len() }));
    service.store().list_otherwise(id, members);
    Ok(answer)
}

fn bad_request(reason: impl Into<String>) -> ControlError {
    ControlError(StatusCode::BAD_REQUEST, reason.into())
}

fn respond(status: StatusCode, body: Vec<u8>) -> Response<Body> {
    let body = Full::from(body).map_err(|never| match never {});
    let mut response = Response::new(body.boxed_unsync());
    *response.status_mut() = status;
    let json = HeaderValue::from_static("application/json");
    response.headers_mut().insert(header::CONTENT_TYPE, json);
    response
}

fn to_json(answer: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec(answer).expect("text, numbers and lists always serialize")
}

#[cfg(test)]
mod tests {
    use super::super::harness::Harness;
    use super::super::{Settings, Store};
    use super::*;

    async fn harness() -> Harness {
        Harness::start(Settings::default()).await
    }

    #[tokio::test]
    async fn counts_are_returned_and_do_not_count_themselves() {
        let harness = harness().await;
        let image = Store::id(3);
        harness.fetch(&image).await;
        harness.fetch("image-none").await;
        let counts = harness.control(Method::GET, "counts", "").await.json();
        assert_eq!(counts["requests"], 2);
        assert_eq!(counts["operations"], json!({ "GetImage": 2 }));
        assert_eq!(counts["codes"], json!({ "OK": 1, "ImageNotFound": 1 }));
        assert_eq!(counts["fetches"][&image], 1);
        assert_eq!(counts["nonces"], 2);
    }

    #[tokio::test]
    async fn the_script_is_replaced_whole_or_not_at_all() {
        let harness = harness().await;
        let script = r#"[{"kind":"throttle","times":1}]"#;
        assert_eq!(
            harness.control(Method::POST, "faults", script).await.status,
            200
        );
        let bad = r#"[{"kind":"gzip"},{"kind":"gzip","ms":1}]"#;
        let refused = harness.control(Method::POST, "faults", bad).await;
        assert_eq!(refused.status, 400);
        assert!(
            refused.json()["error"]
                .as_str()
                .unwrap()
                .contains("gzip has no ms")
        );
        assert_eq!(harness.fetch(&Store::id(0)).await.code(), "Throttling.User");
        assert_eq!(harness.fetch(&Store::id(0)).await.status, 200);
    }

    #[tokio::test]
    async fn ids_are_listed_up_to_a_limit() {
        let harness = harness().await;
        let few = harness
            .control(Method::GET, "images?limit=3", "")
            .await
            .json();
        assert_eq!(few.as_array().unwrap().len(), 3);
        let all = harness.control(Method::GET, "images", "").await.json();
        assert_eq!(all.as_array().unwrap().len(), 100);
        assert!(all.as_array().unwrap().contains(&json!(Store::id(99))));
        assert_eq!(
            harness
                .control(Method::GET, "images?limit=x", "")
                .await
                .status,
            400
        );
    }

    #[tokio::test]
    async fn a_touched_image_is_answered_changed() {
        let harness = harness().await;
        let image = Store::id(1);
        let before = harness.fetch(&image).await.json();
        let touched = harness
            .control(Method::POST, &format!("images/{image}/touch"), "")
            .await
            .json();
        let after = harness.fetch(&image).await.json();
        assert_eq!(after["GmtModifiedTime"], touched["GmtModifiedTime"]);
        assert!(before["GmtModifiedTime"].as_str() < after["GmtModifiedTime"].as_str());
        assert_ne!(before["Description"], after["Description"]);
        assert_eq!(
            harness
                .control(Method::POST, "images/none/touch", "")
                .await
                .status,
            404
        );
    }

    #[tokio::test]
    async fn lists_show_an_image_otherwise_until_told_not_to() {
        let harness = harness().await;
        let image = Store::id(1);
        let route = format!("images/{image}/listed");
        let own = harness.fetch(&image).await.json()["Name"].clone();
        for (members, shown) in [(r#"{"Name":"other"}"#, json!("other")), ("{}", own.clone())] {
            let told = harness.control(Method::PUT, &route, members).await;
            assert_eq!(told.status, 200);
            let target = "/api/v1/images?PageSize=1000";
            let list = harness
                .ask(Method::GET, target, pai_api::Action::ListImages, "")
                .await;
            let list = list.json();
            let images = list["Images"].as_array().unwrap();
            let item = images.iter().find(|item| item["ImageId"] == image.as_str());
            assert_eq!(item.unwrap()["Name"], shown);
            assert_eq!(harness.fetch(&image).await.json()["Name"], own);
        }
        let missing = harness
            .control(Method::PUT, "images/none/listed", "{}")
            .await;
        assert_eq!(missing.status, 404);
        assert_eq!(harness.control(Method::PUT, &route, "[]").await.status, 400);
    }

    #[tokio::test]
    async fn an_image_put_is_answered_byte_for_byte() {
        let harness = harness().await;
        let example = include_str!("../../../tests/vectors/getimage_example.json");
        assert_eq!(
            harness
                .control(Method::PUT, "images/image-x", example)
                .await
                .status,
            200
        );
        assert_eq!(harness.fetch("image-x").await.body, example);
        assert_eq!(
            harness
                .control(Method::PUT, "images/a%20b", example)
                .await
                .status,
            400
        );
        let huge = "x".repeat((1 << 20) + 1);
        assert_eq!(
            harness
                .control(Method::PUT, "images/image-y", &huge)
                .await
                .status,
            413
        );
    }
}
