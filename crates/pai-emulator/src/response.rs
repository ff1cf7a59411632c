//! Responses in the origin's form: recorded headers, and one shape of errors.

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Response, StatusCode, header};
use http_body_util::{BodyExt, Full, combinators::UnsyncBoxBody};
use jiff::Timestamp;
use serde::Serialize;

use super::api_error::ApiError;
use super::fixture::Fixture;

/// Response body, which a fault can break off.
pub(super) type Body = UnsyncBoxBody<Bytes, std::io::Error>;

/// Response that has not been sent yet.
#[derive(Debug)]
pub(super) struct OriginResponse {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
}

/// Fields of a response that depend on the request and not on the result.
#[derive(Debug)]
pub(super) struct ResponseMeta {
    pub(super) request_id: String,
    /// Host of the request; errors repeat it.
    pub(super) host: String,
    pub(super) date: Timestamp,
    /// Remainder of the quota, if there is one.
    pub(super) quota: Option<String>,
}

impl ResponseMeta {
    pub(super) fn new(host: &str, date: Timestamp) -> Self {
        Self {
            request_id: request_id(),
            host: host.to_owned(),
            date,
            quota: None,
        }
    }

    pub(super) fn success(&self, body: Bytes) -> OriginResponse {
        OriginResponse {
            status: StatusCode::OK,
            headers: self.headers(),
            body,
        }
    }

    /// Returns a recorded answer, dated now. Where no header was recorded it has the usual ones.
    pub(super) fn recorded(&self, fixture: &Fixture) -> OriginResponse {
        let mut headers = self.headers();
        if !fixture.headers.is_empty() {
            let date = headers.remove(header::DATE);
            headers.clone_from(&fixture.headers);
            headers.extend(date.map(|date| (header::DATE, date)));
        }
        OriginResponse {
            status: fixture.status,
            headers,
            body: fixture.body.clone(),
        }
    }

    pub(super) fn error(&self, error: &ApiError) -> OriginResponse {
        let mut headers = self.headers();
        for (name, value) in &error.headers {
            headers.insert(name, value.clone());
        }
        OriginResponse {
            status: error.status,
            headers,
            body: self.error_body(error),
        }
    }

    fn headers(&self) -> HeaderMap {
        let date = httpdate::fmt_http_date(self.date.into());
        let etag = format!("\"{:016x}\"", fastrand::u64(..));
        let written = [
            (header::DATE, date),
            (header::ETAG, etag),
            (X_ACS_REQUEST_ID, self.request_id.clone()),
            (X_ACS_TRACE_ID, format!("{:032x}", fastrand::u128(..))),
        ];
        let mut headers = HeaderMap::with_capacity(12);
        headers.extend(FIXED);
        headers.extend(written.map(|(name, value)| (name, ascii(&value))));
        if let Some(quota) = &self.quota {
            headers.insert(X_RATELIMIT_USER_API, ascii(quota));
        }
        headers
    }

    fn error_body(&self, error: &ApiError) -> Bytes {
        let (code, id) = (&error.code, &self.request_id);
        let recommend = format!(
            "https://api.aliyun.com/troubleshoot?q={code}&product=AIWorkSpace&requestId={id}"
        );
        let body = ErrorBody {
            request_id: id,
            message: &error.message,
            recommend: &recommend,
            host_id: &self.host,
            code,
            access_denied_detail: error
                .has_access_denied_detail
                .then(AccessDeniedDetail::default),
        };
        serde_json::to_vec(&body)
            .expect("an error answer has only text, which always serializes")
            .into()
    }
}

impl OriginResponse {
    /// Returns the response without a fault.
    pub(super) fn whole(self) -> Response<Body> {
        let body = Full::new(self.body.clone()).map_err(|never| match never {});
        self.with_body(body.boxed_unsync())
    }

    /// Returns the response's head with another body.
    pub(super) fn with_body(self, body: Body) -> Response<Body> {
        let mut response = Response::new(body);
        *response.status_mut() = self.status;
        *response.headers_mut() = self.headers;
        response
    }
}

/// Fields of an error, in the recorded order.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct ErrorBody<'a> {
    request_id: &'a str,
    message: &'a str,
    recommend: &'a str,
    host_id: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    code: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    access_denied_detail: Option<AccessDeniedDetail>,
}

/// Detail that a 403 may add. It names the central account, so the gateway must never relay it.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct AccessDeniedDetail {
    auth_action: &'static str,
    auth_principal_type: &'static str,
    auth_principal_owner_id: &'static str,
    auth_principal_display_name: &'static str,
    no_permission_type: &'static str,
    policy_type: &'static str,
    encoded_diagnostic_message: &'static str,
}

impl Default for AccessDeniedDetail {
    fn default() -> Self {
        Self {
            auth_action: "paiimage:GetImage",
            auth_principal_type: "SubUser",
            auth_principal_owner_id: "155770209999998921",
            auth_principal_display_name: "245770209999998922",
            no_permission_type: "ImplicitDeny",
            policy_type: "AccountLevelIdentityBasedPolicy",
            encoded_diagnostic_message: "AQIBIAAAAOZW11bGF0ZWQ=",
        }
    }
}

/// Returns a new request id in the API's form, an upper-case UUID.
pub(super) fn request_id() -> String {
    let [a, b, c, d, e] = [
        u64::from(fastrand::u32(..)),
        u64::from(fastrand::u16(..)),
        0x4000 | u64::from(fastrand::u16(..0x1000)),
        0x8000 | u64::from(fastrand::u16(..0x4000)),
        fastrand::u64(..1 << 48),
    ];
    format!("{a:08X}-{b:04X}-{c:04X}-{d:04X}-{e:012X}")
}

fn ascii(text: &str) -> HeaderValue {
    HeaderValue::from_str(text).expect("dates, ids and numbers are visible ASCII")
}

const X_ACS_REQUEST_ID: header::HeaderName = header::HeaderName::from_static("x-acs-request-id");
const X_ACS_TRACE_ID: header::HeaderName = header::HeaderName::from_static("x-acs-trace-id");
const X_RATELIMIT_USER_API: header::HeaderName =
    header::HeaderName::from_static("x-ratelimit-user-api");

const FIXED: [(header::HeaderName, HeaderValue); 5] = [
    (
        header::CONTENT_TYPE,
        HeaderValue::from_static("application/json;charset=utf-8"),
    ),
    (
        header::HeaderName::from_static("keep-alive"),
        HeaderValue::from_static("timeout=25"),
    ),
    (header::VARY, HeaderValue::from_static("Accept-Encoding")),
    (
        header::ACCESS_CONTROL_ALLOW_ORIGIN,
        HeaderValue::from_static("*"),
    ),
    (
        header::ACCESS_CONTROL_EXPOSE_HEADERS,
        HeaderValue::from_static("*"),
    ),
];
