//! What an answer of the origin means. Statuses alone do not tell: the vendor answers throttles with
//! 400 and missing keys with 404, so the `Code` decides, then the status.

use std::time::Duration;

use wildmatch::WildMatch;

use super::ParentFault;
use crate::api::{ImageFields, Operation, OriginError};
use crate::outcome::CallResult;
use crate::transport::Reply;

/// What an answer means.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// Here it is, and what it says of an image, if it is one.
    Ok(ImageFields),
    /// A 200 that is not one complete JSON object.
    Unreadable,
    /// There is no such image.
    NotFound(OriginError),
    /// The central credential may not see it.
    Forbidden(OriginError),
    /// The account's flow control, and how long it asks us to wait.
    Throttled(Option<Duration>),
    /// Another complaint about the request.
    ClientError(OriginError),
    /// The origin failed, or answered what the API does not.
    ServerError(OriginError),
    /// A complaint about our credential, signature or clock.
    Credential(OriginError),
    /// A parent gateway has no answer.
    Parent(ParentFault),
}

impl Verdict {
    /// The metric's word.
    #[must_use]
    pub const fn result(&self) -> CallResult {
        match self {
            Self::Ok(_) => CallResult::Ok,
            Self::NotFound(_) => CallResult::NotFound,
            Self::Forbidden(_) => CallResult::Forbidden,
            Self::Throttled(_) => CallResult::Throttled,
            Self::ClientError(_) => CallResult::ClientError,
            Self::ServerError(_) | Self::Unreadable => CallResult::ServerError,
            Self::Credential(_) => CallResult::Credential,
            Self::Parent(fault) => fault.result(),
        }
    }
}

/// Codes that mean something, by pattern.
#[derive(Debug, Clone)]
pub struct Codes {
    not_found: Vec<WildMatch>,
    credential: Vec<WildMatch>,
}

impl Codes {
    /// `*` in a pattern matches any text.
    #[must_use]
    pub fn new(not_found: &[String], credential: &[String]) -> Self {
        let compile = |patterns: &[String]| {
            patterns
                .iter()
                .map(|pattern| WildMatch::new(pattern))
                .collect()
        };
        Self {
            not_found: compile(not_found),
            credential: compile(credential),
        }
    }

    /// Judges an answer.
    #[must_use]
    pub fn judge(&self, operation: &Operation, reply: &Reply) -> Verdict {
        if reply.status == 200 {
            return ImageFields::parse(&reply.body).map_or(Verdict::Unreadable, Verdict::Ok);
        }
        let error = OriginError::parse(reply.status, &reply.body);
        let wait = reply.retry_after();
        let code = error.code.as_str();
        match reply.status {
            _ if code.starts_with("Throttling") || reply.status == 429 || wait.is_some() => {
                Verdict::Throttled(wait)
            }
            _ if matches(&self.credential, code) => Verdict::Credential(error),
            400..500 if matches(&self.not_found, code) => Verdict::NotFound(error),
            404 if matches!(operation, Operation::GetImage(_)) && is_about_an_image(code) => {
                Verdict::NotFound(error)
            }
            403 => Verdict::Forbidden(error),
            // Without a Code it is no answer of this API: some proxy on the way spoke.
            400..500 if !code.is_empty() => Verdict::ClientError(error),
            _ => Verdict::ServerError(error),
        }
    }
}

fn matches(patterns: &[WildMatch], code: &str) -> bool {
    patterns.iter().any(|pattern| pattern.matches(code))
}

/// Whether a 404 with this code can be about the image rather than about the API or our key.
fn is_about_an_image(code: &str) -> bool {
    const OTHERS: [&str; 5] = ["Api", "Action", "Product", "Version", "AccessKeyId"];
    !code.is_empty() && !OTHERS.iter().any(|other| code.contains(other))
}

#[cfg(test)]
mod tests {
    use http::HeaderMap;

    use super::*;
    use crate::api::{ImageId, ImageKey};
    use crate::upstream::Config;

    fn judge(
        operation: &Operation,
        status: u16,
        body: &str,
        retry_after: Option<&str>,
    ) -> CallResult {
        let config = Config::default();
        let mut headers = HeaderMap::new();
        if let Some(value) = retry_after {
            headers.insert("x-acs-retry-after", value.parse().unwrap());
        }
        let reply = Reply {
            status,
            headers,
            body: body.to_owned().into(),
            connection: crate::transport::Connection::default(),
        };
        Codes::new(&config.not_found_codes, &config.credential_codes)
            .judge(operation, &reply)
            .result()
    }

    #[test]
    fn the_code_decides_then_the_status() {
        let get = Operation::GetImage(ImageKey {
            image: ImageId::parse("i").unwrap(),
            verbose: false,
        });
        let code =
            |status, code: &str| judge(&get, status, &format!(r#"{{"Code":"{code}"}}"#), None);
        assert_eq!(code(200, ""), CallResult::Ok);
        assert_eq!(code(404, "ImageNotFound"), CallResult::NotFound);
        assert_eq!(code(400, "InvalidImage.NotExist"), CallResult::NotFound);
        assert_eq!(code(404, "Whatever"), CallResult::NotFound);
        assert_eq!(code(404, "InvalidApi.NotFound"), CallResult::ClientError);
        assert_eq!(
            code(404, "InvalidAccessKeyId.NotFound"),
            CallResult::Credential
        );
        assert_eq!(code(400, "SignatureDoesNotMatch"), CallResult::Credential);
        assert_eq!(code(403, "NoPermission"), CallResult::Credential);
        assert_eq!(code(403, "Forbidden"), CallResult::Forbidden);
        assert_eq!(code(400, "Throttling.User"), CallResult::Throttled);
        assert_eq!(code(429, ""), CallResult::Throttled);
        assert_eq!(code(400, "InvalidParameter"), CallResult::ClientError);
        assert_eq!(code(503, "ServiceUnavailable"), CallResult::ServerError);
        assert_eq!(code(302, ""), CallResult::ServerError);
        assert_eq!(judge(&get, 200, "<html>", None), CallResult::ServerError);
        assert_eq!(judge(&get, 404, "<html>", None), CallResult::ServerError);
        assert_eq!(
            judge(&get, 404, r#"{"Code":"X"}"#, Some("250")),
            CallResult::Throttled
        );
        assert_eq!(
            judge(&get, 404, r#"{"Code":"X"}"#, Some("0")),
            CallResult::NotFound
        );
        assert_eq!(
            judge(&Operation::ListImages, 404, r#"{"Code":"Whatever"}"#, None),
            CallResult::ClientError
        );
    }
}
