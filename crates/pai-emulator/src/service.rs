//! Path of a request: authentication, quota, fault script, store, response.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::request::Parts;
use http::{Request, Response, StatusCode};
use hyper::body::Incoming;
use jiff::SignedDuration;

use super::Settings;
use super::api_error::ApiError;
use super::auth_rejection::{SIGNATURE_DOES_NOT_MATCH, mismatch_message};
use super::authenticator::Authenticator;
use super::clock::Clock;
use super::control;
use super::counts::{Counters, Counts};
use super::fault::FaultKind;
use super::fixture::{Fixture, Fixtures};
use super::inbound::{host, read, route};
use super::inject::{self, ConnectionClosed};
use super::operation::perform;
use super::quota::Quota;
use super::response::{Body, OriginResponse, ResponseMeta};
use super::script::Script;
use super::store::Store;
use pai_api::{Call, Operation};

/// State that all connections share.
pub(super) struct ApiService {
    authenticator: Authenticator,
    store: Store,
    script: Script,
    counters: Counters,
    quota: Option<Quota>,
    fixtures: Fixtures,
    clock: Arc<Clock>,
    latency: Duration,
}

/// Result of an operation.
enum Performed<'a> {
    /// Body of a success.
    Body(Bytes),
    /// Recorded answer, whatever its status.
    Recorded(&'a Fixture),
}

impl ApiService {
    pub(super) fn new(settings: Settings) -> Self {
        let clock = Arc::new(Clock::default());
        Self {
            authenticator: Authenticator::new(
                settings.access_key_id,
                settings.access_key_secret,
                settings.security_token,
            ),
            store: Store::generate(settings.images, Arc::clone(&clock)),
            script: Script::new(settings.faults),
            counters: Counters::default(),
            quota: settings.quota_per_second.map(Quota::new),
            fixtures: Fixtures::new(settings.fixtures),
            clock,
            latency: settings.latency,
        }
    }

    pub(super) const fn store(&self) -> &Store {
        &self.store
    }

    pub(super) const fn script(&self) -> &Script {
        &self.script
    }

    pub(super) const fn counters(&self) -> &Counters {
        &self.counters
    }

    pub(super) fn counts(&self) -> Counts {
        self.counters.snapshot(self.authenticator.nonces())
    }

    pub(super) fn fetches(&self, image: &str) -> u64 {
        self.counters.fetches(image)
    }

    pub(super) fn set_clock_offset(&self, offset: SignedDuration) {
        self.clock.set_offset(offset);
    }

    /// Returns the response to one request, or closes its connection.
    pub(super) async fn serve(
        &self,
        request: Request<Incoming>,
    ) -> Result<Response<Body>, ConnectionClosed> {
        let (head, body) = request.into_parts();
        let body = read(body).await?;
        if let Some(route) = head.uri.path().strip_prefix(control::PREFIX) {
            return Ok(control::answer(self, route, &head, body));
        }
        self.counters.request();
        let (answer, fault) = self.answer(&head, body.as_ref());
        inject::send(answer, fault, self.latency).await
    }

    fn answer(&self, head: &Parts, body: Option<&Bytes>) -> (OriginResponse, Option<FaultKind>) {
        let mut meta = ResponseMeta::new(host(head), self.clock.now());
        let (outcome, fault) = match body {
            Some(body) => self.outcome(head, body, &mut meta),
            None => (Err(body_too_large()), None),
        };
        let answer = match outcome {
            Ok(Performed::Body(body)) => {
                self.counters.code("OK");
                meta.success(body)
            }
            Ok(Performed::Recorded(fixture)) => {
                self.counters.code("recorded");
                meta.recorded(fixture)
            }
            Err(error) => {
                self.counters.code(&error.code);
                meta.error(&error)
            }
        };
        (answer, fault)
    }

    fn outcome(
        &self,
        head: &Parts,
        body: &[u8],
        meta: &mut ResponseMeta,
    ) -> (Result<Performed<'_>, ApiError>, Option<FaultKind>) {
        let call = match self.admit(head, body, meta) {
            Ok(call) => call,
            Err(error) => return (Err(error), None),
        };
        let image = call.operation.image().map(|image| image.as_str());
        let fault = self.script.next(call.operation.action(), image);
        if let Some(fault) = &fault {
            self.counters.fault(fault.as_str());
        }
        let outcome = match fault.as_ref().and_then(FaultKind::error) {
            Some(mut error) => {
                if is_signature_mismatch(fault.as_ref()) {
                    error.message = mismatch_message(head, body);
                }
                Err(error)
            }
            None => self.perform(&call, body, &meta.request_id),
        };
        (outcome, fault)
    }

    /// Performs a call, unless its answer was recorded.
    fn perform(
        &self,
        call: &Call,
        body: &[u8],
        request_id: &str,
    ) -> Result<Performed<'_>, ApiError> {
        if let Some(fixture) = self.fixtures.of(call) {
            return Ok(Performed::Recorded(fixture));
        }
        let performed = perform(&self.store, call, body, request_id);
        match (performed, self.fixtures.of_missing(call)) {
            (Err(_), Some(fixture)) => Ok(Performed::Recorded(fixture)),
            (performed, _) => performed.map(Performed::Body),
        }
    }

    /// Runs the checks that precede the operation.
    fn admit(&self, head: &Parts, body: &[u8], meta: &mut ResponseMeta) -> Result<Call, ApiError> {
        self.authenticator
            .check(head, body, meta.date)
            .map_err(|why| {
                self.counters.rejected(why.as_str());
                why.to_api_error(head, body)
            })?;
        let call = route(head)?;
        self.counters.operation(call.operation.action());
        if let Operation::GetImage(key) = &call.operation {
            self.counters.fetch(key.image.as_str());
        }
        let Some(quota) = &self.quota else {
            return Ok(call);
        };
        let grant = quota.take(call.operation.action(), Instant::now());
        meta.quota = Some(grant.header());
        if grant.allowed {
            return Ok(call);
        }
        let (status, code) = (StatusCode::BAD_REQUEST, "Throttling.User");
        Err(ApiError::throttled(status, code, Some(grant.left)))
    }
}

/// Returns true if a fault is a wrong signature with the API's own message.
fn is_signature_mismatch(fault: Option<&FaultKind>) -> bool {
    matches!(
        fault,
        Some(FaultKind::Status { code: Some(code), message: None, .. }) if code == SIGNATURE_DOES_NOT_MATCH
    )
}

fn body_too_large() -> ApiError {
    let message = "The body is larger than 1 MiB.";
    ApiError::new(
        StatusCode::PAYLOAD_TOO_LARGE,
        "RequestEntityTooLarge",
        message,
    )
}

#[cfg(test)]
mod tests {
    use super::super::harness::Harness;
    use super::*;

    #[tokio::test]
    async fn a_success_carries_the_recorded_headers() {
        let harness = Harness::start(Settings::default()).await;
        let reply = harness.fetch(&Store::id(0)).await;
        let id = reply.json()["RequestId"].as_str().unwrap().to_owned();
        assert_eq!((id.len(), id.to_uppercase()), (36, id.clone()));
        for (name, value) in [
            ("content-type", "application/json;charset=utf-8"),
            ("content-length", "626"),
            ("keep-alive", "timeout=25"),
            ("vary", "Accept-Encoding"),
            ("access-control-allow-origin", "*"),
            ("access-control-expose-headers", "*"),
            ("x-acs-request-id", &id),
        ] {
            assert_eq!(reply.header(name), value, "{name}");
        }
        assert_eq!(reply.header("x-acs-trace-id").len(), 32);
        assert!(httpdate::parse_http_date(reply.header("date")).is_ok());
        assert!(!reply.headers.contains_key("x-ratelimit-user-api"));
    }

    #[tokio::test]
    async fn one_image_is_the_same_bytes_but_for_its_request_id() {
        let harness = Harness::start(Settings::default()).await;
        let mut bodies = Vec::new();
        for _ in 0..2 {
            let reply = harness.fetch(&Store::id(2)).await;
            let text = String::from_utf8(reply.body.to_vec()).unwrap();
            bodies.push(text.replace(reply.header("x-acs-request-id"), ""));
        }
        assert_eq!(bodies[0], bodies[1]);
        assert!(bodies[0].contains(r#""WorkspaceId":"20817""#));
    }

    #[tokio::test]
    async fn more_than_the_quota_is_throttled() {
        let harness = Harness::start(Settings {
            quota_per_second: Some(3),
            ..Settings::default()
        })
        .await;
        let mut replies = Vec::new();
        for _ in 0..8 {
            replies.push(harness.fetch(&Store::id(0)).await);
        }
        assert!(
            replies[0]
                .header("x-ratelimit-user-api")
                .starts_with("Limit:3,Remain:2,")
        );
        // Eight requests may straddle two windows, which hold six.
        let throttled: Vec<_> = replies.iter().filter(|reply| reply.status == 400).collect();
        assert!((2..=5).contains(&throttled.len()), "{}", throttled.len());
        for reply in throttled {
            assert_eq!(reply.code(), "Throttling.User");
            let wait: u64 = reply.header("x-acs-retry-after").parse().unwrap();
            assert!((1..=1000).contains(&wait), "{wait}");
        }
    }
}
