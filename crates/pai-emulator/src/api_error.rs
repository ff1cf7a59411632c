//! Errors of the API, with its own codes and messages.

use std::time::Duration;

use http::{HeaderName, HeaderValue, StatusCode};

use pai_api::Malformed;

/// Error response of an operation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ApiError {
    pub(super) status: StatusCode,
    /// Code of the error; empty for a response without one.
    pub(super) code: String,
    pub(super) message: String,
    /// Headers in addition to the usual ones.
    pub(super) headers: Vec<(HeaderName, HeaderValue)>,
    /// True if the response names the missing permission and the account.
    pub(super) has_access_denied_detail: bool,
}

impl ApiError {
    pub(super) fn new(status: StatusCode, code: &str, message: impl Into<String>) -> Self {
        Self {
            status,
            code: code.to_owned(),
            message: message.into(),
            headers: Vec::new(),
            has_access_denied_detail: false,
        }
    }

    pub(super) fn image_not_found(image: &str) -> Self {
        let message = format!("The specified image {image} does not exist.");
        Self::new(StatusCode::NOT_FOUND, "ImageNotFound", message)
    }

    pub(super) fn route_not_found() -> Self {
        let code = "InvalidApi.NotFound";
        Self::new(StatusCode::NOT_FOUND, code, message_for(code))
    }

    pub(super) fn invalid_parameter(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "InvalidParameter", message)
    }

    /// Returns a throttling error; SDKs read the time to wait, in milliseconds, from the header.
    pub(super) fn throttled(status: StatusCode, code: &str, retry_after: Option<Duration>) -> Self {
        let mut error = Self::new(status, code, message_for(code));
        if let Some(wait) = retry_after {
            let ms = u64::try_from(wait.as_millis()).unwrap_or(u64::MAX).max(1);
            let name = HeaderName::from_static("x-acs-retry-after");
            error.headers.push((name, HeaderValue::from(ms)));
        }
        error
    }
}

impl From<Malformed> for ApiError {
    fn from(malformed: Malformed) -> Self {
        Self::invalid_parameter(malformed.to_string())
    }
}

/// Returns the API's message for a Code, as documented or recorded.
pub(super) fn message_for(code: &str) -> &'static str {
    match code {
        "InvalidAccessKeyId.NotFound" => "Specified access key is not found.",
        "InvalidAccessKeyId.Inactive" => "Specified access key is disabled.",
        "InvalidApi.NotFound" => "Specified api is not found, please check your url and method.",
        "InvalidSecurityToken.Expired" => "Specified SecurityToken is expired.",
        "InvalidSecurityToken.Malformed" => "Specified SecurityToken is malformed.",
        "InvalidTimeStamp.Expired" => "Specified time stamp or date value is expired.",
        "InvalidTimeStamp.Format" => "Specified time stamp or date value is not well formatted.",
        "InvalidVersion" => "Specified parameter Version is not valid.",
        "MissingAccessKeyId" => "AccessKeyId is mandatory for this action.",
        "MissingSecurityToken" => "SecurityToken is mandatory for this action.",
        "SignatureNonceUsed" => "Specified signature nonce was used already.",
        "IncompleteSignature" => {
            "The request signature does not conform to Alibaba Cloud standards."
        }
        "NoPermission" | "Forbidden" | "Forbidden.RAM" => {
            "You are not authorized to do this action. You should be authorized by RAM."
        }
        "ServiceUnavailable" | "ServiceUnavailableTemporary" => {
            "The request has failed due to a temporary failure of the server."
        }
        "InternalError" | "InternalFailure" => {
            "The request processing has failed due to some unknown error, exception or failure."
        }
        _ if code.starts_with("Throttling") => "Request was denied due to user flow control.",
        _ => "The request was refused.",
    }
}
