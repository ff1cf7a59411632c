//! Redaction of bodies, headers and parameters.

use http::HeaderValue;
use serde_json::json;

use super::*;

#[test]
fn only_harmless_texts_stay_and_relations_do() {
    let mut redactor = Redactor::default();
    let body = json!({
        "RequestId": "4C62-1", "TotalCount": 2, "Account": 1557702, "New": {"Secret": "s"},
        "Images": [
            {"ImageId": "image-a", "UserId": "15577", "ParentUserId": "15577", "Size": 7, "WorkspaceId": null,
             "Accessibility": "PUBLIC", "Description": "", "ImageUri": "registry.cn/team/a:1", "Labels": [
                {"Key": "system.official", "Value": "true"}, {"Key": "team", "Value": "nlp"}]},
            {"ImageId": "image-b", "GmtCreateTime": "2021-01-21T17:12:35.232Z"},
        ],
    });
    assert_eq!(
        redactor.body(body.to_string().as_bytes()),
        json!({
            "RequestId": "RequestId-1", "TotalCount": 2, "Account": 0, "New": {"Secret": "Secret-1"},
            "Images": [
                {"ImageId": "image-1", "UserId": "ParentUserId-1", "ParentUserId": "ParentUserId-1", "Size": 7,
                 "WorkspaceId": null, "Accessibility": "PUBLIC", "Description": "",
                 "ImageUri": "registry.example/image:1", "Labels": [
                    {"Key": "system.official", "Value": "true"}, {"Key": "Key-1", "Value": "Value-1"}]},
                {"ImageId": "image-2", "GmtCreateTime": "2021-01-21T17:12:35.232Z"},
            ],
        })
    );
    assert_eq!(redactor.placeholder("ImageId", "image-b"), "image-2");
    assert_eq!(redactor.parameter("PageSize", "50"), "50");
    assert_eq!(
        redactor.parameter("Labels", "system.official=true"),
        "system.official=true"
    );
    assert_eq!(redactor.parameter("WorkspaceId", "15945"), "WorkspaceId-1");
    assert_eq!(redactor.body(b"<html>"), Value::Null);
}

#[test]
fn headers_stay_by_name() {
    let headers: HeaderMap = [
        ("date", "Thu, 26 Nov 2026 12:00:00 GMT"),
        ("x-acs-request-id", "4C62-1"),
        ("set-cookie", "session=1"),
        ("content-length", "9"),
    ]
    .map(|(name, value)| (name.parse().unwrap(), HeaderValue::from_static(value)))
    .into_iter()
    .collect();
    let kept = Value::Object(Redactor::default().headers(&headers));
    assert_eq!(
        kept,
        json!({
            "date": "Thu, 26 Nov 2026 12:00:00 GMT",
            "x-acs-request-id": "x-acs-request-id-1",
            "set-cookie": "set-cookie-1",
        })
    );
}
