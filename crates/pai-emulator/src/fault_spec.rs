//! Serialized form of a fault: flat, with every field optional until the kind is known.

use std::collections::BTreeMap;
use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use serde::{Deserialize, Serialize};

use super::fault::{Fault, FaultKind};
use super::fault_kinds;
use pai_api::Action;

/// The fields of one rule.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct FaultSpec {
    kind: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    operation: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    image: Option<String>,
    #[serde(default)]
    after: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    times: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ms: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    retry_after_ms: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<u16>,
    #[serde(skip_serializing_if = "Option::is_none")]
    code: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    message: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    headers: Option<BTreeMap<String, String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    access_denied_detail: Option<bool>,
}

impl TryFrom<FaultSpec> for Fault {
    type Error = String;

    fn try_from(mut rule: FaultSpec) -> Result<Self, String> {
        if rule.times == Some(0) {
            return Err("times = 0 would never apply".to_owned());
        }
        let kind = rule.take_kind()?;
        if let Some(field) = rule.leftover() {
            return Err(format!("a fault of kind {} has no {field}", rule.kind));
        }
        Ok(Self {
            operation: rule.operation.as_deref().map(parse_action).transpose()?,
            image: rule.image,
            after: rule.after,
            times: rule.times,
            kind,
        })
    }
}

impl FaultSpec {
    /// Moves the fields that the kind has out of the rule; a field that remains then is an error.
    fn take_kind(&mut self) -> Result<FaultKind, String> {
        Ok(match self.kind.as_str() {
            "latency" => FaultKind::Latency(self.take_ms()?.ok_or("a latency needs ms")?),
            "status" => FaultKind::Status {
                status: self.take_status()?.ok_or("a status fault needs status")?,
                code: self.code.take(),
                message: self.message.take(),
                headers: self
                    .headers
                    .take()
                    .map_or_else(|| Ok(HeaderMap::new()), parse_headers)?,
                access_denied_detail: self.access_denied_detail.take().unwrap_or(false),
            },
            "throttle" => FaultKind::Throttle {
                status: self.take_status()?.unwrap_or(StatusCode::BAD_REQUEST),
                code: self
                    .code
                    .take()
                    .unwrap_or_else(|| "Throttling.User".to_owned()),
                retry_after: self.retry_after_ms.take().map(Duration::from_millis),
            },
            "headers" => {
                let headers = self.headers.take();
                FaultKind::Headers(parse_headers(
                    headers.ok_or("a headers fault needs headers")?,
                )?)
            }
            "stall" => FaultKind::Stall(self.take_ms()?.unwrap_or(FaultKind::STALL)),
            "close_before" => FaultKind::CloseBefore,
            "close_mid_body" => FaultKind::CloseMidBody,
            "garbage" => FaultKind::Garbage,
            "gzip" => FaultKind::Gzip,
            "truncated" => FaultKind::Truncated,
            "empty" => FaultKind::Empty,
            "not_object" => FaultKind::NotObject,
            "wrong_type" => FaultKind::WrongType,
            unknown => {
                let kinds = fault_kinds::names();
                return Err(format!("there is no kind {unknown}; the kinds are {kinds}"));
            }
        })
    }

    fn take_ms(&mut self) -> Result<Option<Duration>, String> {
        match self.ms.take() {
            Some(ms) if ms > MAX_MS => Err(format!("ms must be at most {MAX_MS}, an hour")),
            ms => Ok(ms.map(Duration::from_millis)),
        }
    }

    fn take_status(&mut self) -> Result<Option<StatusCode>, String> {
        let status = self.status.take();
        let parsed = status.map(|number| {
            StatusCode::from_u16(number)
                .ok()
                .filter(|status| (200..600).contains(&status.as_u16()))
                .ok_or_else(|| format!("status must be 200 to 599, not {number}"))
        });
        parsed.transpose()
    }

    fn leftover(&self) -> Option<&'static str> {
        let fields = [
            (self.ms.is_some(), "ms"),
            (self.retry_after_ms.is_some(), "retry_after_ms"),
            (self.status.is_some(), "status"),
            (self.code.is_some(), "code"),
            (self.message.is_some(), "message"),
            (self.headers.is_some(), "headers"),
            (self.access_denied_detail.is_some(), "access_denied_detail"),
        ];
        let mut left = fields.into_iter().filter(|(given, _)| *given);
        left.next().map(|(_, name)| name)
    }

    fn with_kind(self, kind: FaultKind) -> Self {
        match kind {
            FaultKind::Latency(wait) | FaultKind::Stall(wait) => Self {
                ms: Some(to_ms(wait)),
                ..self
            },
            FaultKind::Status {
                status,
                code,
                message,
                headers,
                access_denied_detail,
            } => Self {
                status: Some(status.as_u16()),
                code,
                message,
                headers: Some(write_headers(&headers)),
                access_denied_detail: Some(access_denied_detail),
                ..self
            },
            FaultKind::Throttle {
                status,
                code,
                retry_after,
            } => Self {
                status: Some(status.as_u16()),
                code: Some(code),
                retry_after_ms: retry_after.map(to_ms),
                ..self
            },
            FaultKind::Headers(headers) => Self {
                headers: Some(write_headers(&headers)),
                ..self
            },
            FaultKind::CloseBefore
            | FaultKind::CloseMidBody
            | FaultKind::Garbage
            | FaultKind::Gzip
            | FaultKind::Truncated
            | FaultKind::Empty
            | FaultKind::NotObject
            | FaultKind::WrongType => self,
        }
    }
}

impl From<Fault> for FaultSpec {
    fn from(fault: Fault) -> Self {
        let rule = Self {
            kind: fault.kind.as_str().to_owned(),
            operation: fault.operation.map(|action| action.as_str().to_owned()),
            image: fault.image,
            after: fault.after,
            times: fault.times,
            ..Self::default()
        };
        rule.with_kind(fault.kind)
    }
}

fn parse_action(name: &str) -> Result<Action, String> {
    let known = || {
        Action::ALL
            .into_iter()
            .filter(|action| !matches!(action, Action::Resolve | Action::Unknown))
    };
    let found = known().find(|action| action.as_str() == name);
    found.ok_or_else(|| {
        let names: Vec<_> = known().map(Action::as_str).collect();
        let names = names.join(", ");
        format!("there is no operation {name}; the operations are {names}")
    })
}

fn parse_headers(headers: BTreeMap<String, String>) -> Result<HeaderMap, String> {
    let pairs = headers.into_iter().map(|(name, value)| {
        let bad = || format!("headers: {name} is not a header with a value that can be sent");
        let parsed_name = HeaderName::from_bytes(name.as_bytes()).map_err(|_| bad())?;
        let parsed_value = HeaderValue::from_str(&value).map_err(|_| bad())?;
        Ok((parsed_name, parsed_value))
    });
    pairs.collect()
}

fn write_headers(headers: &HeaderMap) -> BTreeMap<String, String> {
    let pairs = headers.iter().map(|(name, value)| {
        let value = String::from_utf8_lossy(value.as_bytes()).into_owned();
        (name.as_str().to_owned(), value)
    });
    pairs.collect()
}

fn to_ms(wait: Duration) -> u64 {
    u64::try_from(wait.as_millis()).unwrap_or(u64::MAX)
}

const MAX_MS: u64 = 3_600_000;
