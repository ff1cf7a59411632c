//! What clients see while the origin is in trouble of every kind.
//!
//! Ten images are known, and their answers age within milliseconds; then trouble begins, and clients
//! ask for the known ones over and over, and for new ones too. `cargo test --test it outage -- --nocapture`
//! prints the table.

use std::fmt::Write as _;
use std::time::Duration;

use futures_util::future::join_all;
use jiff::SignedDuration;
use pai_image_gateway::emulator::{Fault, FaultKind, Store};

use crate::support::{TestGateway, refusal, throttle};

const KNOWN: usize = 10;
const ROUNDS: usize = 40;
const PAUSE: Duration = Duration::from_millis(25);
/// Requests for known images while the trouble lasts.
const ASKED: usize = KNOWN * ROUNDS;

/// One kind of trouble.
struct Trouble {
    name: &'static str,
    faults: Vec<Fault>,
    clock: SignedDuration,
    /// The origin answers all the same.
    harmless: bool,
    /// Most calls that may reach the origin.
    calls: u64,
}

/// What came of it.
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

fn always(name: &'static str, kind: FaultKind, calls: u64) -> Trouble {
    trouble(name, vec![Fault::always(kind)], calls)
}

fn trouble(name: &'static str, faults: Vec<Fault>, calls: u64) -> Trouble {
    Trouble {
        name,
        faults,
        clock: SignedDuration::ZERO,
        harmless: false,
        calls,
    }
}

/// Five answers, five failures, and so on.
fn flapping() -> Vec<Fault> {
    let fault = |round: u64| Fault {
        after: round * 5,
        times: Some(5),
        ..Fault::always(refusal(503, "ServiceUnavailable"))
    };
    (1..40).map(fault).collect()
}

fn troubles() -> Vec<Trouble> {
    // Failures in a row open the breaker: then one probe goes each time its pause is over.
    const HELD: u64 = 40;
    // Each of these answers is final, so each request may cost a call.
    const EACH: u64 = (ASKED + ROUNDS) as u64;
    let harmless = |trouble: Trouble| Trouble {
        harmless: true,
        ..trouble
    };
    vec![
        harmless(trouble("none", Vec::new(), EACH)),
        harmless(always("gzip nobody asked for", FaultKind::Gzip, EACH)),
        harmless(Trouble {
            clock: SignedDuration::from_mins(20),
            ..trouble("clock 20 min off", Vec::new(), EACH + 20)
        }),
        trouble("flapping", flapping(), EACH * 2),
        always("closed without a word", FaultKind::CloseBefore, HELD),
        always("closed mid-body", FaultKind::CloseMidBody, HELD),
        always("silent", FaultKind::Stall(FaultKind::STALL), HELD),
        always(
            "slower than the deadline",
            FaultKind::Latency(Duration::from_millis(400)),
            HELD,
        ),
        always("500", refusal(500, "InternalError"), HELD),
        always("503", refusal(503, "ServiceUnavailable"), HELD),
        always("garbage", FaultKind::Garbage, HELD),
        always("truncated", FaultKind::Truncated, HELD),
        always("empty", FaultKind::Empty, HELD),
        always("not an object", FaultKind::NotObject, HELD),
        always(
            "throttled, 200 ms",
            throttle(Some(Duration::from_millis(200))),
            HELD,
        ),
        always("throttled, no time named", throttle(None), HELD),
        always(
            "credential expired",
            refusal(400, "InvalidSecurityToken.Expired"),
            EACH,
        ),
    ]
}

async fn gateway() -> TestGateway {
    TestGateway::start(|setup| {
        for (key, value) in [
            ("freshness.min", "20ms"),
            ("freshness.max", "20ms"),
            ("freshness.stale_while_revalidate_min", "20ms"),
            ("freshness.stale_while_revalidate_max", "20ms"),
            ("api.wait", "150ms"),
            ("api.wait_with_stale", "50ms"),
            ("upstream.attempt_timeout", "100ms"),
            ("upstream.deadline", "300ms"),
            ("upstream.breaker_pause", "200ms"),
        ] {
            setup.set(key, value);
        }
    })
    .await
}

async fn endure(trouble: &Trouble) -> Seen {
    let gateway = gateway().await;
    for index in 0..KNOWN {
        gateway.image(&Store::id(index)).await.found();
    }
    gateway.emulator.set_clock_offset(trouble.clock);
    gateway.emulator.script(trouble.faults.clone());
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

/// The answer, if it is about this image: everything but its RequestId must be the origin's.
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
async fn known_images_are_answered_through_every_trouble_within_the_budget() {
    let troubles = troubles();
    let mut table = format!(
        "{:<26} {:>6} {:>6} {:>7} {:>10} {:>11} {:>15}\n",
        "trouble", "fresh", "stale", "failed", "new found", "new failed", "upstream calls"
    );
    let mut broken = Vec::new();
    for few in troubles.chunks(4) {
        for (trouble, seen) in few.iter().zip(join_all(few.iter().map(endure)).await) {
            let Seen {
                fresh,
                stale,
                failed,
                new_found,
                new_failed,
                wrong,
                calls,
            } = seen;
            let name = trouble.name;
            writeln!(table, "{name:<26} {fresh:>6} {stale:>6} {failed:>7} {new_found:>10} {new_failed:>11} {calls:>15}").unwrap();
            let told = if trouble.harmless {
                new_failed == 0
            } else {
                stale > 0
            };
            if failed > 0 || wrong > 0 || !told || fresh + stale != ASKED || calls > trouble.calls {
                broken.push(name);
            }
        }
    }
    println!("{table}");
    assert!(broken.is_empty(), "{broken:?}\n{table}");
}
