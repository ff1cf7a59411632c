//! Log lines of each condition: one when it begins, one when it ends, and few in between.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::time::Duration;

use futures_util::future::join_all;
use http::Method;
use pai_image_gateway::emulator::Store;
use serde_json::Value;

use crate::outage::{Failure, failures};
use crate::process::{origin, serving};
use crate::support::{Process, address, ask, eventually, path};

/// Lines that one condition may write within a minute.
const MOST: usize = 10;
const KNOWN: usize = 10;
/// Images requested while the failure lasts, the cached ones among them.
const IMAGES: usize = 50;
const REQUESTS: usize = 150;
const PAUSE: Duration = Duration::from_millis(10);
const ENDED_WITHIN: Duration = Duration::from_secs(100);

/// The lines of the log that belong to an episode.
fn episodes(process: &Process) -> Vec<Value> {
    let log = process.output("stderr");
    // The last line may be half written.
    let lines = log
        .lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok());
    lines.filter(|line| line["condition"].is_string()).collect()
}

fn begins(line: &Value) -> bool {
    line["remedy"].is_string()
}

fn ends(line: &Value) -> bool {
    line["lasted_seconds"].is_u64() && line["count"].is_u64()
}

/// Conditions and subjects of one kind of line.
fn subjects(lines: &[Value], is: impl Fn(&Value) -> bool) -> Vec<(String, String)> {
    let text = |line: &Value, name: &str| line[name].as_str().unwrap_or_default().to_owned();
    let found = lines.iter().filter(|line| is(line));
    found
        .map(|line| (text(line, "condition"), text(line, "subject")))
        .collect()
}

/// Lines of the log about one failure, from before its begin to after its end.
struct Reported {
    began: Vec<(String, String)>,
    ended: Vec<(String, String)>,
    /// Number of lines at WARN and above, of every kind.
    lines: usize,
}

impl Reported {
    /// Compares: each condition of `expected`, and no other, begins once and ends once.
    fn is_right(&self, expected: &[&str]) -> bool {
        let conditions: BTreeSet<_> = self.began.iter().map(|(name, _)| name.as_str()).collect();
        let sorted = |lines: &[(String, String)]| {
            let mut lines = lines.to_vec();
            lines.sort();
            lines
        };
        let began = sorted(&self.began);
        let once = began.iter().collect::<BTreeSet<_>>().len() == began.len();
        conditions == expected.iter().copied().collect()
            && once
            && began == sorted(&self.ended)
            && self.lines <= MOST
    }
}

/// Runs a gateway into a failure of its origin and out of it.
async fn endure(failure: &Failure) -> Reported {
    let emulator = origin().await;
    let wait = if failure.waits { "300ms" } else { "2500ms" };
    let (attempt, deadline) = if failure.is_late() {
        ("200ms", "600ms")
    } else {
        ("5s", "10s")
    };
    let timeouts = [
        format!("api.wait={wait}"),
        format!("upstream.attempt_timeout={attempt}"),
        format!("upstream.deadline={deadline}"),
    ];
    let settings = [
        "log.format=json",
        "freshness.min=100ms",
        "freshness.max=100ms",
        timeouts[0].as_str(),
        timeouts[1].as_str(),
        timeouts[2].as_str(),
        "upstream.calls_per_second.get_image=0",
        "upstream.breaker_pause=200ms",
        "upstream.breaker_max_pause=400ms",
    ];
    let (process, ports) = serving(&emulator, &settings).await;
    let data = address(&ports, "listen");
    let get = async |index: usize| {
        let answer = ask(&data, Method::GET, &path(&Store::id(index)), &[], "").await;
        answer.status.as_u16()
    };
    for index in 0..KNOWN {
        eventually("it is known", async || get(index).await == 200).await;
    }
    failure.trouble.begin(&emulator);
    for index in 0..REQUESTS {
        get(index % IMAGES).await;
        tokio::time::sleep(PAUSE).await;
    }
    emulator.script(Vec::new());
    let over = async {
        loop {
            get(fastrand::usize(0..IMAGES)).await;
            let lines = episodes(&process);
            if subjects(&lines, begins).len() == subjects(&lines, ends).len() {
                return;
            }
            tokio::time::sleep(PAUSE).await;
        }
    };
    // A failure that nothing ends is over when it has not occurred for a minute.
    let _ended = tokio::time::timeout(ENDED_WITHIN, over).await;
    let lines = episodes(&process);
    let log = process.output("stderr");
    let warned = |line: &&str| line.contains("\"WARN\"") || line.contains("\"ERROR\"");
    Reported {
        began: subjects(&lines, begins),
        ended: subjects(&lines, ends),
        lines: log.lines().filter(warned).count(),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_failure_is_logged_once_when_it_begins_and_once_when_it_ends() {
    let mut wrong = String::new();
    let failures = failures();
    for (failure, reported) in failures
        .iter()
        .zip(join_all(failures.iter().map(endure)).await)
    {
        if !reported.is_right(failure.logged) {
            let Reported {
                began,
                ended,
                lines,
            } = reported;
            let (name, expected) = (failure.trouble.name, failure.logged);
            writeln!(
                wrong,
                "{name}: expected {expected:?}, began {began:?}, ended {ended:?}, {lines} lines"
            )
            .unwrap();
        }
    }
    assert!(wrong.is_empty(), "\n{wrong}");
}
