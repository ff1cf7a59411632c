//! Control routes under `/emulator/…`: unsigned requests that read and change a running emulator. [`CONTROL_ROUTES`] lists them.

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

/// Control route: requests are dispatched by this table, and docs/emulator.md is generated from it.
pub struct ControlRoute {
    /// Method of the request.
    pub method: Method,
    /// Path below `/emulator/`; `{id}` stands for an image's id.
    pub path: &'static str,
    /// Body or parameters of the request.
    pub takes: &'static str,
    /// Effect and response.
    pub does: &'static str,
    answer: fn(&ControlRequest<'_>) -> Result<Vec<u8>, ControlError>,
}

/// The control routes.
pub const CONTROL_ROUTES: [ControlRoute; 7] = [
    ControlRoute {
        method: Method::GET,
        path: "counts",
        takes: "",
        does: "returns the counts since the start: `requests`, `operations`, `codes`, `rejected`, `fetches` by image, `nonces`",
        answer: |request| Ok(to_json(&request.service.counts())),
    },
    ControlRoute {
        method: Method::POST,
        path: "faults",
        takes: "a JSON list of faults",
        does: "replaces the script of faults, whole or, if one is invalid, not at all; `[]` ends every fault",
        answer: replace_faults,
    },
    ControlRoute {
        method: Method::GET,
        path: "images",
        takes: "`?limit=N`",
        does: "returns the ids of the images, sorted, at most N",
        answer: list_ids,
    },
    ControlRoute {
        method: Method::POST,
        path: "images/{id}/touch",
        takes: "",
        does: "changes the image as its owner would: a new `GmtModifiedTime`, which it returns, and description",
        answer: touch,
    },
    ControlRoute {
        method: Method::PUT,
        path: "images/{id}",
        takes: "any bytes, up to 1 MiB",
        does: "makes these bytes the response of GetImage for that id, new or not; lists do not show it",
        answer: put,
    },
    ControlRoute {
        method: Method::PUT,
        path: "images/{id}/listed",
        takes: "a JSON object",
        does: "lists show these members instead of the image's own, GetImage does not; `{}` ends that",
        answer: list_otherwise,
    },
    ControlRoute {
        method: Method::PUT,
        path: "page-size",
        takes: "a number",
        does: "pages of ListImages have at most this many images, whatever `PageSize` asks for; 0 ends that",
        answer: limit_pages,
    },
];

struct ControlError(StatusCode, String);

/// A control request, as far as the routes need it.
struct ControlRequest<'a> {
    service: &'a ApiService,
    /// Id in the path; empty where the route has none.
    id: &'a str,
    query: &'a str,
    body: Bytes,
}

impl ControlRoute {
    /// Returns the id in the path, or an empty text, if this is the route of a request.
    fn matches<'a>(&self, method: &Method, segments: &[&'a str]) -> Option<&'a str> {
        let own = self.path.split('/');
        if self.method != *method || own.clone().count() != segments.len() {
            return None;
        }
        let mut id = "";
        for (own, given) in own.zip(segments) {
            if own == "{id}" {
                id = given;
            } else if own != *given {
                return None;
            }
        }
        Some(id)
    }
}

/// Answers one control request; `body` is `None` for one that is too large.
pub(super) fn answer(
    service: &ApiService,
    route: &str,
    head: &Parts,
    body: Option<Bytes>,
) -> Response<Body> {
    let segments: Vec<&str> = route.split('/').collect();
    let find = |route: &ControlRoute| Some((route.answer, route.matches(&head.method, &segments)?));
    let answer = match (body, CONTROL_ROUTES.iter().find_map(find)) {
        (None, _) => Err(ControlError(
            StatusCode::PAYLOAD_TOO_LARGE,
            "the body is larger than 1 MiB".to_owned(),
        )),
        (Some(body), Some((answer, id))) => answer(&ControlRequest {
            service,
            id,
            query: head.uri.query().unwrap_or(""),
            body,
        }),
        (Some(_), None) => Err(ControlError(
            StatusCode::NOT_FOUND,
            "there is no such control route".to_owned(),
        )),
    };
    match answer {
        Ok(body) => respond(StatusCode::OK, body),
        Err(ControlError(status, reason)) => respond(status, to_json(&json!({ "error": reason }))),
    }
}

fn replace_faults(request: &ControlRequest<'_>) -> Result<Vec<u8>, ControlError> {
    let faults =
        Script::parse_json(&request.body).map_err(|error| bad_request(error.to_string()))?;
    let answer = to_json(&json!({ "faults": faults.len() }));
    request.service.script().replace(faults);
    Ok(answer)
}

fn list_ids(request: &ControlRequest<'_>) -> Result<Vec<u8>, ControlError> {
    let query = Query::parse(request.query).map_err(|error| bad_request(error.to_string()))?;
    let mut limit = usize::MAX;
    for (name, value) in query.pairs() {
        let number = value.parse().ok().filter(|_| name == "limit");
        limit = number.ok_or_else(|| bad_request("the one parameter is limit, a number"))?;
    }
    Ok(to_json(&request.service.store().ids(limit)))
}

fn touch(request: &ControlRequest<'_>) -> Result<Vec<u8>, ControlError> {
    let modified = request.service.store().touch(request.id).map_err(|why| {
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

fn put(request: &ControlRequest<'_>) -> Result<Vec<u8>, ControlError> {
    let id = ImageId::parse(request.id).map_err(|error| bad_request(error.to_string()))?;
    let store = request.service.store();
    if store.len() >= Store::CAPACITY {
        return Err(bad_request("there are too many images already"));
    }
    store.put_raw(id.as_str(), request.body.clone());
    Ok(to_json(&json!({ "ImageId": id.as_str() })))
}

fn list_otherwise(request: &ControlRequest<'_>) -> Result<Vec<u8>, ControlError> {
    let (store, id) = (request.service.store(), request.id);
    let members: Members =
        serde_json::from_slice(&request.body).map_err(|error| bad_request(error.to_string()))?;
    if store.get(id).is_none() {
        return Err(ControlError(
            StatusCode::NOT_FOUND,
            ModifyError::Missing.to_string(),
        ));
    }
    let answer = to_json(&json!({ "members": members.len() }));
    store.list_otherwise(id, members);
    Ok(answer)
}

fn limit_pages(request: &ControlRequest<'_>) -> Result<Vec<u8>, ControlError> {
    let images: usize =
        serde_json::from_slice(&request.body).map_err(|error| bad_request(error.to_string()))?;
    request.service.store().limit_pages(images);
    Ok(to_json(&json!({ "page_size": images })))
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
