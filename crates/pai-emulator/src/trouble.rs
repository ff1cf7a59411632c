//! Troubles of an origin: scripts of faults that docs/outage.md reports about, one row each.

use std::time::Duration;

use http::{HeaderMap, StatusCode};
use jiff::SignedDuration;

use super::{Emulator, Fault, FaultKind};

/// Way in which an origin fails, until it is mended.
#[derive(Debug, Clone, PartialEq)]
pub struct Trouble {
    /// Name of the row in docs/outage.md.
    pub name: &'static str,
    /// Script of faults.
    pub faults: Vec<Fault>,
    /// Offset of the origin's clock.
    pub clock: SignedDuration,
}

impl Trouble {
    fn new(name: &'static str, faults: Vec<Fault>) -> Self {
        Self {
            name,
            faults,
            clock: SignedDuration::ZERO,
        }
    }

    fn always(name: &'static str, kind: FaultKind) -> Self {
        Self::new(name, vec![Fault::always(kind)])
    }

    /// Lists the troubles in the order of the document. `late` is a latency beyond the gateway's deadline.
    #[must_use]
    pub fn all(late: Duration) -> Vec<Self> {
        let mut troubles = vec![
            Self::new("none", Vec::new()),
            Self::always("gzip nobody asked for", FaultKind::Gzip),
            Self {
                clock: SignedDuration::from_mins(20),
                ..Self::new("clock 20 min off", Vec::new())
            },
            Self::new("flapping", flapping()),
            Self::always("closed without a byte", FaultKind::CloseBefore),
            Self::always("closed mid-body", FaultKind::CloseMidBody),
            Self::always("silent", FaultKind::Stall(FaultKind::STALL)),
            Self::always("slower than the deadline", FaultKind::Latency(late)),
        ];
        let unreadable = [
            ("garbage", FaultKind::Garbage),
            ("truncated", FaultKind::Truncated),
            ("empty", FaultKind::Empty),
            ("not an object", FaultKind::NotObject),
        ];
        let throttles = [
            ("throttled, 200 ms", Some(Duration::from_millis(200))),
            ("throttled, no time named", None),
        ];
        troubles.extend(FAILING.map(rejected));
        troubles.extend(unreadable.map(|(name, kind)| Self::always(name, kind)));
        troubles.extend(throttles.map(|(name, wait)| Self::always(name, throttle(wait))));
        troubles.extend(REFUSING.map(rejected));
        troubles
    }

    /// Lets the emulator fail in this way from now on.
    pub fn begin(&self, emulator: &Emulator) {
        emulator.set_clock_offset(self.clock);
        emulator.script(self.faults.clone());
    }
}

/// Name, status and Code of an error that every request gets.
type Rejection = (&'static str, StatusCode, Option<&'static str>);

const FAILING: [Rejection; 2] = [
    (
        "500",
        StatusCode::INTERNAL_SERVER_ERROR,
        Some("InternalError"),
    ),
    ("503", StatusCode::SERVICE_UNAVAILABLE, UNAVAILABLE),
];

const REFUSING: [Rejection; 7] = [
    (
        "credential expired",
        StatusCode::BAD_REQUEST,
        Some("InvalidSecurityToken.Expired"),
    ),
    (
        "wrong secret",
        StatusCode::BAD_REQUEST,
        Some("SignatureDoesNotMatch"),
    ),
    (
        "Forbidden.RAM",
        StatusCode::FORBIDDEN,
        Some("Forbidden.RAM"),
    ),
    ("NoPermission", StatusCode::FORBIDDEN, Some("NoPermission")),
    ("a proxy's 403 page", StatusCode::FORBIDDEN, None),
    (
        "an error with status 200",
        StatusCode::OK,
        Some("InternalError"),
    ),
    (
        "overdue account",
        StatusCode::BAD_REQUEST,
        Some("OverdueAccount"),
    ),
];

const UNAVAILABLE: Option<&str> = Some("ServiceUnavailable");

fn rejected((name, status, code): Rejection) -> Trouble {
    Trouble::always(name, rejection(status, code))
}

fn rejection(status: StatusCode, code: Option<&str>) -> FaultKind {
    FaultKind::Status {
        status,
        code: code.map(str::to_owned),
        message: None,
        headers: HeaderMap::new(),
        access_denied_detail: false,
    }
}

fn throttle(retry_after: Option<Duration>) -> FaultKind {
    FaultKind::Throttle {
        status: StatusCode::BAD_REQUEST,
        code: "Throttling.User".to_owned(),
        retry_after,
    }
}

/// Five answers, five failures, and so on.
fn flapping() -> Vec<Fault> {
    let fault = |round: u64| Fault {
        after: round * 5,
        times: Some(5),
        ..Fault::always(rejection(StatusCode::SERVICE_UNAVAILABLE, UNAVAILABLE))
    };
    (1..40).map(fault).collect()
}
