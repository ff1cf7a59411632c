use std::time::Duration;

use http::HeaderMap;

use super::*;
use crate::api::{ImageId, ImageKey};
use crate::observability::outcome::CallResult;
use crate::signing::Credentials;

const TOKEN: &str = "CAIS-token/+=";

fn signed() -> Identity {
    Identity::Key(Credentials {
        access_key_id: "AKCENTRAL".to_owned(),
        access_key_secret: "central-secret".into(),
        security_token: Some(TOKEN.into()),
    })
}

fn get() -> Operation {
    Operation::GetImage(ImageKey {
        image: ImageId::parse("i").unwrap(),
        verbose: false,
    })
}

fn reply(status: u16, body: &str, headers: &[(&'static str, &str)]) -> Reply {
    let mut map = HeaderMap::new();
    for (name, value) in headers {
        map.insert(*name, value.parse().unwrap());
    }
    Reply {
        status,
        headers: map,
        body: body.to_owned().into(),
        connection: crate::transport::Connection::default(),
    }
}

fn classify(operation: &Operation, status: u16, body: &str) -> Result<AnswerKind, UpstreamError> {
    let reply = reply(status, body, &[]);
    Classifier::new(&Config::default()).classify(operation, &reply, &signed())
}

fn label(operation: &Operation, status: u16, body: &str) -> CallResult {
    match classify(operation, status, body) {
        Ok(kind) => kind.result(),
        Err(error) => error.result(),
    }
}

fn is_unreadable(operation: &Operation, body: &str) -> bool {
    let result = classify(operation, 200, body);
    matches!(result, Err(UpstreamError::Unreadable(_)))
}

#[test]
fn the_code_decides_then_the_status() {
    let code = |status, code: &str| label(&get(), status, &format!(r#"{{"Code":"{code}"}}"#));
    for (status, text, expected) in [
        (404, "ImageNotFound", CallResult::NotFound),
        (400, "InvalidImage.NotExist", CallResult::NotFound),
        (404, "Whatever", CallResult::NotFound),
        (404, "InvalidApi.NotFound", CallResult::ClientError),
        (404, "InvalidAccessKeyId.NotFound", CallResult::Credential),
        (400, "SignatureDoesNotMatch", CallResult::Credential),
        (400, "IncompleteSignature", CallResult::Credential),
        (400, "InvalidSecurityToken.Expired", CallResult::Credential),
        (400, "InvalidTimeStamp.Format", CallResult::Credential),
        (400, "IllegalTimestamp", CallResult::Credential),
        (403, "Forbidden.AccessKeyDisabled", CallResult::Credential),
        (403, "Forbidden.AccessKey", CallResult::Credential),
        (403, "NoPermission", CallResult::Forbidden),
        (403, "Forbidden.RAM", CallResult::Forbidden),
        (400, "Forbidden.RAM", CallResult::Forbidden),
        (403, "Forbidden", CallResult::Forbidden),
        (403, "Whatever", CallResult::Forbidden),
        (403, "OverdueAccount", CallResult::ClientError),
        (400, "OverdueAccount", CallResult::ClientError),
        (400, "Throttling", CallResult::Throttled),
        (400, "Throttling.User", CallResult::Throttled),
        (400, "Rejected.Throttling", CallResult::Throttled),
        (503, "RequestThrottledByUser", CallResult::Throttled),
        (403, "Throttling.Api", CallResult::Throttled),
        (400, "ThrottlingPolicyInvalid", CallResult::ClientError),
        (429, "Whatever", CallResult::Throttled),
        (400, "InvalidParameter", CallResult::ClientError),
        (503, "ServiceUnavailable", CallResult::ServerError),
    ] {
        assert_eq!(code(status, text), expected, "{status} {text}");
    }
    let lists = Operation::ListImages;
    assert_eq!(
        label(&lists, 404, r#"{"Code":"Whatever"}"#),
        CallResult::ClientError
    );
}

#[test]
fn a_rejection_of_the_account_is_told_from_one_of_the_request() {
    let is_about_account = |status, code: &str| {
        let body = format!(r#"{{"Code":"{code}"}}"#);
        matches!(classify(&get(), status, &body), Err(UpstreamError::Account(error)) if error.code == code)
    };
    for (status, code, expected) in [
        (400, "OverdueAccount", true),
        (403, "Forbidden.InDebt", true),
        (402, "Account.Arrearage", true),
        (403, "ProductNotActivated", true),
        (200, "OverdueAccount", true),
        (503, "OverdueAccount", false),
        (400, "InvalidParameter", false),
        (403, "NoPermission", false),
    ] {
        assert_eq!(is_about_account(status, code), expected, "{status} {code}");
    }
}

#[test]
fn a_status_without_a_code_is_no_error_of_the_api() {
    for body in [
        "<html>",
        "",
        "{}",
        r#"{"error":"blocked by proxy"}"#,
        r#"{"Code":"","Message":"m"}"#,
        r#"{"Code":null}"#,
        r#"["Code"]"#,
    ] {
        for status in [301, 302, 400, 401, 403, 404, 405, 414, 451] {
            let result = classify(&get(), status, body);
            assert!(
                matches!(result, Err(UpstreamError::Foreign(_))),
                "{status} {body}"
            );
        }
        for status in [500, 502, 503, 504] {
            let result = classify(&get(), status, body);
            assert!(
                matches!(result, Err(UpstreamError::Server(_))),
                "{status} {body}"
            );
        }
        assert_eq!(label(&get(), 429, body), CallResult::Throttled);
    }
}

#[test]
fn a_200_is_an_image_or_an_error_or_unreadable() {
    for (body, expected) in [
        (r#"{"ImageUri":"u"}"#, CallResult::Ok),
        (r#"{"Code":"ImageNotFound"}"#, CallResult::NotFound),
        (r#"{"Code":"NoPermission"}"#, CallResult::Forbidden),
        (r#"{"code":"Throttling.User"}"#, CallResult::Throttled),
        (
            r#"{"Code":"SignatureDoesNotMatch"}"#,
            CallResult::Credential,
        ),
        (r#"{"code":"503","success":false}"#, CallResult::ServerError),
    ] {
        assert_eq!(label(&get(), 200, body), expected, "{body}");
    }
    for body in ["{}", r#"{"status":"UP"}"#, "[]", "null", "", "<html>"] {
        assert!(is_unreadable(&get(), body), "{body}");
    }
    let Ok(AnswerKind::NotFound(error)) = classify(&get(), 200, r#"{"Code":"ImageNotFound"}"#)
    else {
        panic!("the image is not found")
    };
    assert_eq!(error.status, 404, "no error goes out with 200");
    assert_eq!(
        label(&get(), 206, r#"{"ImageUri":"u"}"#),
        CallResult::ServerError
    );
}

#[test]
fn an_image_answers_for_the_id_that_was_asked() {
    for (body, is_it) in [
        (r#"{"ImageUri":"u","ImageId":"i"}"#, true),
        (r#"{"ImageUri":"u","ImageId":null}"#, true),
        (r#"{"ImageUri":"u","ImageId":7}"#, true),
        (r#"{"ImageUri":"u","ImageId":"other"}"#, false),
        (r#"{"ImageUri":"u","ImageId":"I"}"#, false),
    ] {
        assert_eq!(!is_unreadable(&get(), body), is_it, "{body}");
    }
}

#[test]
fn a_page_has_the_shape_of_its_operation() {
    let (images, labels) = (Operation::ListImages, Operation::ListImageLabels);
    assert_eq!(label(&images, 200, r#"{"Images":[]}"#), CallResult::Ok);
    assert_eq!(label(&labels, 200, r#"{"Labels":[]}"#), CallResult::Ok);
    for list in [&images, &labels] {
        let error = r#"{"Code":"InternalError","Message":"m"}"#;
        assert_eq!(label(list, 200, error), CallResult::ServerError);
        assert!(is_unreadable(list, "{}"));
    }
}

#[test]
fn any_2xx_of_a_write_is_its_success() {
    for status in [200, 201, 202, 204] {
        for body in ["", "<html>", r#"{"RequestId":"R"}"#, r#"{"Code":"OK"}"#] {
            assert_eq!(label(&Operation::AddImage, status, body), CallResult::Ok);
        }
    }
    let quoting = r#"{"Code":"SignatureDoesNotMatch","Message":"string to sign"}"#;
    assert_eq!(
        label(&Operation::AddImage, 200, quoting),
        CallResult::Credential
    );
    assert_eq!(
        label(&Operation::AddImage, 302, ""),
        CallResult::ServerError
    );
}

#[test]
fn a_throttle_is_recognized_by_the_vendors_header_and_waits_by_either() {
    let classify = |status, body: &str, headers: &[(&'static str, &str)]| {
        let reply = reply(status, body, headers);
        match Classifier::new(&Config::default()).classify(&get(), &reply, &signed()) {
            Err(UpstreamError::Throttled(throttle)) => Some((throttle.error.code, throttle.wait)),
            _ => None,
        }
    };
    let (vendors, standard) = ("x-acs-retry-after", "retry-after");
    let ms = Duration::from_millis;
    let coded = r#"{"Code":"X"}"#;
    assert_eq!(
        classify(404, coded, &[(vendors, "250")]),
        Some(("X".to_owned(), Some(ms(250))))
    );
    for nothing in ["0", "-1", "1.5", ""] {
        assert_eq!(
            classify(404, coded, &[(vendors, nothing)]),
            None,
            "{nothing}"
        );
    }
    assert_eq!(classify(503, coded, &[(standard, "7")]), None);
    let throttled = r#"{"Code":"Throttling.User"}"#;
    let wait = |headers: &[(&'static str, &str)]| classify(400, throttled, headers).unwrap().1;
    assert_eq!(wait(&[(standard, "7")]), Some(ms(7000)));
    assert_eq!(wait(&[(standard, "7"), (vendors, "250")]), Some(ms(250)));
    assert_eq!(wait(&[(standard, "7"), (vendors, "0")]), Some(ms(7000)));
    assert_eq!(wait(&[(standard, "soon")]), None);
    assert_eq!(wait(&[]), None);
}

#[test]
fn a_message_that_quotes_the_signed_request_is_replaced_whatever_its_code() {
    for quoted in [
        "server String To Sign is: GET",
        "server StringToSign is [ACS3",
        "the CANONICAL request",
        "key akcentral is unknown",
        "token cais-token/+= is old",
        "token CAIS-token%2F%2B%3D is old",
        "secret central-secret",
    ] {
        let body = format!(r#"{{"Code":"InvalidParameter","Message":"{quoted}"}}"#);
        let Err(UpstreamError::Refused(error)) = classify(&get(), 400, &body) else {
            panic!("a complaint")
        };
        assert_eq!(
            (&*error.code, &*error.message),
            ("InvalidParameter", WITHHELD)
        );
    }
    let plain = r#"{"Code":"InvalidParameter","Message":"Name is too long"}"#;
    let Err(UpstreamError::Refused(error)) = classify(&get(), 400, plain) else {
        panic!("a complaint")
    };
    assert_eq!(error.message, "Name is too long");
    let in_words = r#"{"Code":"X.AKCENTRAL","RequestId":"AKCENTRAL"}"#;
    assert!(
        matches!(classify(&get(), 400, in_words), Err(UpstreamError::Foreign(error)) if error.request_id.is_empty())
    );
}

#[test]
fn an_error_takes_its_request_id_from_the_header_where_its_body_has_none() {
    let reply = reply(
        404,
        r#"{"Code":"ImageNotFound"}"#,
        &[("x-acs-request-id", "R-1")],
    );
    let result = Classifier::new(&Config::default()).classify(&get(), &reply, &signed());
    assert!(matches!(result, Ok(AnswerKind::NotFound(error)) if error.request_id == "R-1"));
}

#[test]
fn an_error_keeps_the_status_of_an_error() {
    for (status, code, expected) in [
        (200, "ImageNotFound", 404),
        (400, "InvalidImage.NotExist", 400),
        (404, "ImageNotFound", 404),
        (200, "NoPermission", 403),
        (400, "Forbidden.RAM", 400),
        (200, "OverdueAccount", 403),
        (400, "OverdueAccount", 400),
    ] {
        let body = format!(r#"{{"Code":"{code}"}}"#);
        let (Ok(AnswerKind::NotFound(error) | AnswerKind::Forbidden(error))
        | Err(UpstreamError::Refused(error) | UpstreamError::Account(error))) =
            classify(&get(), status, &body)
        else {
            panic!("{status} {code}")
        };
        assert_eq!(error.status, expected, "{status} {code}");
    }
}

#[test]
fn another_image_is_a_200_that_is_one_and_names_another_id() {
    for (operation, status, body, is_another) in [
        (get(), 200, r#"{"ImageUri":"u","ImageId":"other"}"#, true),
        (get(), 200, r#"{"ImageUri":"u","ImageId":"i"}"#, false),
        (get(), 404, r#"{"ImageUri":"u","ImageId":"other"}"#, false),
        (
            Operation::ListImages,
            200,
            r#"{"ImageUri":"u","ImageId":"other"}"#,
            false,
        ),
    ] {
        let fields = another_image(&operation, &reply(status, body, &[]));
        assert_eq!(fields.is_some(), is_another, "{status} {body}");
    }
}
