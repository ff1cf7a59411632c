//! Responses to clients during every kind of origin failure.
//!
//! Ten images are cached with a ttl of milliseconds; then the failure begins, and clients
//! request the cached ones repeatedly, and new ones too. A second run sends requests for ten seconds as fast as it
//! can. `cargo test --test it outage -- --nocapture` prints the table.

use std::fmt::Write as _;
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use http::Method;
use pai_image_gateway::emulator::{Store, Trouble};

use crate::support::{TestGateway, eventually, path};

const KNOWN: usize = 10;
const ROUNDS: usize = 40;
const PAUSE: Duration = Duration::from_millis(25);
/// Number of requests for cached images during the failure.
const ASKED: usize = KNOWN * ROUNDS;
/// Images in the second run, the cached ones included.
const LOADED: usize = 50;
/// Concurrent clients in the second run.
const CLIENTS: usize = 16;
const LOAD: Duration = Duration::from_secs(10);
/// Latency beyond every deadline of these tests.
const LATE: Duration = Duration::from_millis(400);

/// One kind of failure.
pub(crate) struct Failure {
    pub(crate) trouble: Trouble,
    /// Conditions that the log reports, each as an episode.
    pub(crate) logged: Logged,
    /// The origin answers nevertheless.
    pub(crate) harmless: bool,
    /// Requests wait, because the origin is late or asks for it. Only these rows shorten the deadlines: in the others a
    /// busy machine would miss them.
    pub(crate) waits: bool,
    /// Most calls that may reach the origin.
    calls: u64,
    /// Cached images that may be lost: refused before the refusals count against the credential.
    lost: usize,
    /// Most calls in the ten seconds of full load.
    load: u64,
    /// Calls have their default pace, without which nothing delays the calls to a throttling origin.
    is_paced: bool,
}

impl Failure {
    /// Returns whether no answer comes in time; else requests wait, if at all, because the origin asks for it.
    pub(crate) const fn is_late(&self) -> bool {
        self.waits && !self.is_paced
    }
}

/// Results of a run.
#[derive(Default)]
struct Seen {
    fresh: usize,
    stale: usize,
    failed: usize,
    new_found: usize,
    new_failed: usize,
    wrong: usize,
    calls: u64,
}

/// Conditions of the log, as its lines name them.
type Logged = &'static [&'static str];
const FAILS: Logged = &["origin_fails", "breaker_open"];
const UNREACHABLE: Logged = &["origin_unreachable", "breaker_open"];
const THROTTLES: Logged = &["origin_throttles"];
const REFUSED: Logged = &["credential_refused", "breaker_open"];

fn failure(name: &'static str, calls: u64, logged: Logged) -> Failure {
    let mut troubles = Trouble::all(LATE).into_iter();
    let trouble = troubles.find(|trouble| trouble.name == name);
    Failure {
        trouble: trouble.unwrap(),
        logged,
        harmless: false,
        waits: false,
        calls,
        lost: 0,
        load: BREAKER_LOAD,
        is_paced: false,
    }
}

/// Calls in flight when the breaker opens, and then at most one a second.
const BREAKER_LOAD: u64 = 5 + 3 * CLIENTS as u64 + LOAD.as_secs();
/// The default pace of 47 calls a second, lowered by a third each second down to a tenth.
const PACED_LOAD: u64 = 47 + 31 + 21 + 14 + 9 + 6 + 5 * 4;
/// Each image once a second.
const EACH_LOAD: u64 = (LOADED as u64) * (LOAD.as_secs() + 2);

fn throttled(name: &'static str) -> Failure {
    Failure {
        load: PACED_LOAD,
        is_paced: true,
        waits: true,
        ..failure(name, PACED_LOAD, THROTTLES)
    }
}

pub(crate) fn failures() -> Vec<Failure> {
    // Failures in a row open the breaker: then one probe goes each time its pause is over.
    const BREAKER: u64 = 40;
    // Each of these answers is final, so each request may cost a call.
    // A busy machine makes a few attempts late, which are tried again.
    const EACH: u64 = (ASKED + ROUNDS) as u64 + 20;
    let harmless = |failure: Failure| Failure {
        harmless: true,
        load: EACH_LOAD,
        ..failure
    };
    let late = |name| Failure {
        waits: true,
        ..failure(name, BREAKER, UNREACHABLE)
    };
    // Two known images are lost before the third shows that the credential is refused. Each new one is refused once.
    let not_permitted = |name| Failure {
        lost: 2,
        load: BREAKER_LOAD + LOADED as u64,
        ..failure(name, BREAKER + ROUNDS as u64, REFUSED)
    };
    let fails = |name| failure(name, BREAKER, FAILS);
    vec![
        harmless(failure("none", EACH, &[])),
        harmless(failure("gzip nobody asked for", EACH, &[])),
        harmless(failure("clock 20 min off", EACH + 20, &["clock_wrong"])),
        Failure {
            load: EACH_LOAD,
            ..failure("flapping", EACH * 2, FAILS)
        },
        failure("closed without a byte", BREAKER, UNREACHABLE),
        failure("closed mid-body", BREAKER, UNREACHABLE),
        late("silent"),
        late("slower than the deadline"),
        fails("500"),
        fails("503"),
        fails("garbage"),
        fails("truncated"),
        fails("empty"),
        fails("not an object"),
        throttled("throttled, 200 ms"),
        throttled("throttled, no time named"),
        failure("credential expired", BREAKER, REFUSED),
        failure("wrong secret", BREAKER, REFUSED),
        not_permitted("Forbidden.RAM"),
        not_permitted("NoPermission"),
        fails("a proxy's 403 page"),
        fails("an error with status 200"),
        Failure {
            // Five complaints about each image, and then its own pause.
            load: 8 * LOADED as u64 + BREAKER_LOAD,
            ..failure("overdue account", EACH, &["account_refused"])
        },
    ]
}

async fn gateway(failure: &Failure) -> TestGateway {
    TestGateway::start(|setup| {
        if failure.is_paced {
            setup.pace_as_set();
        }
        for (key, value) in [
            ("freshness.min", "20ms"),
            ("freshness.max", "20ms"),
            ("freshness.stale_while_revalidate_min", "20ms"),
            ("freshness.stale_while_revalidate_max", "20ms"),
            ("upstream.breaker_pause", "200ms"),
        ] {
            setup.set(key, value);
        }
        if failure.waits {
            setup.set("api.wait", "150ms");
            setup.set("api.wait_with_stale", "50ms");
            setup.set("upstream.attempt_timeout", "100ms");
            setup.set("upstream.deadline", "300ms");
        }
    })
    .await
}

/// Sends requests for ten seconds, as fast as possible, for images of which a few are cached; counts the calls.
async fn load(failure: &Failure) -> u64 {
    let gateway = TestGateway::start(|setup| {
        if failure.is_paced {
            setup.pace_as_set();
        }
        for (key, value) in [
            ("freshness.min", "1s"),
            ("freshness.max", "1s"),
            ("freshness.stale_while_revalidate_min", "1s"),
            ("freshness.stale_while_revalidate_max", "1s"),
        ] {
            setup.set(key, value);
        }
        if failure.waits {
            // Shorter than the latency of the row that is slower than the deadline.
            setup.set("upstream.attempt_timeout", "300ms");
            setup.set("upstream.deadline", "1s");
        }
    })
    .await;
    for index in 0..KNOWN {
        eventually("it is known", async || {
            gateway.image(&Store::id(index)).await.status == 200
        })
        .await;
    }
    failure.trouble.begin(&gateway.emulator);
    let (before, end) = (gateway.calls(), Instant::now() + LOAD);
    join_all((0..CLIENTS).map(async |client| {
        let mut connection = gateway.connect().await;
        let mut asked = client;
        while Instant::now() < end {
            let id = Store::id(asked % LOADED);
            let target = path(&id);
            let answer = connection.try_send(Method::GET, &target, &[], "");
            if answer.await.is_err() {
                connection = gateway.connect().await;
            }
            asked += 1;
        }
    }))
    .await;
    gateway.calls() - before
}

async fn endure(failure: &Failure) -> Seen {
    let gateway = gateway(failure).await;
    for index in 0..KNOWN {
        eventually("it is known", async || {
            gateway.image(&Store::id(index)).await.status == 200
        })
        .await;
    }
    failure.trouble.begin(&gateway.emulator);
    let (mut seen, before) = (Seen::default(), gateway.calls());
    for round in 0..ROUNDS {
        tokio::time::sleep(PAUSE).await;
        let asked: Vec<String> = (0..KNOWN).map(Store::id).collect();
        for (id, answer) in asked
            .iter()
            .zip(join_all(asked.iter().map(|id| gateway.image(id))).await)
        {
            seen.wrong += usize::from(
                answer.status == 200 && answer.text() != body_of(&gateway, id, &answer.text()),
            );
            match (
                answer.status.as_u16(),
                answer.cache_status().contains("detail="),
            ) {
                (200, true) => seen.stale += 1,
                (200, false) => seen.fresh += 1,
                _ => seen.failed += 1,
            }
        }
        let new = gateway.image(&Store::id(KNOWN + round)).await;
        *if new.status == 200 {
            &mut seen.new_found
        } else {
            &mut seen.new_failed
        } += 1;
    }
    seen.calls = gateway.calls() - before;
    seen
}

/// Returns the body if it is about this image: everything but its RequestId must be the origin's.
fn body_of(gateway: &TestGateway, id: &str, answer: &str) -> String {
    let uri = gateway.emulator.store().get(id).unwrap().image_uri;
    let about: serde_json::Value = serde_json::from_str(answer).unwrap();
    if about["ImageUri"] == uri.as_str() {
        answer.to_owned()
    } else {
        format!("not {id}")
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cached_images_are_served_through_every_failure_within_the_call_budget() {
    let failures = failures();
    let mut table = format!(
        "{:<26} {:>6} {:>6} {:>7} {:>10} {:>11} {:>15} {:>30}\n",
        "failure",
        "fresh",
        "stale",
        "failed",
        "new found",
        "new failed",
        "upstream calls",
        "calls in 10 s of full load"
    );
    let mut broken = Vec::new();
    let mut loads = Vec::new();
    for few in failures.chunks(8) {
        loads.extend(join_all(few.iter().map(load)).await);
    }
    let mut loads = loads.into_iter();
    for few in failures.chunks(4) {
        for (failure, seen) in few.iter().zip(join_all(few.iter().map(endure)).await) {
            let load = loads.next().unwrap();
            let Seen {
                fresh,
                stale,
                failed,
                new_found,
                new_failed,
                wrong,
                calls,
            } = seen;
            let name = failure.trouble.name;
            writeln!(table, "{name:<26} {fresh:>6} {stale:>6} {failed:>7} {new_found:>10} {new_failed:>11} {calls:>15} {load:>30}").unwrap();
            let reported = if failure.harmless {
                new_failed == 0
            } else {
                stale > 0
            };
            let is_bounded = calls <= failure.calls && load <= failure.load;
            let may_fail = failure.lost * ROUNDS;
            if failed > may_fail
                || wrong > 0
                || !reported
                || fresh + stale + failed != ASKED
                || !is_bounded
            {
                broken.push(name);
            }
        }
    }
    println!("{table}");
    assert!(broken.is_empty(), "{broken:?}\n{table}");
}
