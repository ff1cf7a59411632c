//! Prints the results of the demo: three tables, and commands to try by hand while it stays up.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::time::Duration;

use super::quota::{ASKED, QUOTA, QuotaResult};
use super::workload::PhaseResult;
use crate::api::Action;
use crate::emulator::{Counts, Store};
use crate::observability::metrics::{Metrics, SHORTEST_LATENCY, quantile};
use crate::observability::outcome::Outcome;
use crate::server::Address;

/// Prints a table of the phases, then one of the outcomes with their latency inside the gateway.
pub(super) fn table(phases: &[PhaseResult], metrics: &Metrics, origin: &Counts) -> String {
    let mut text = format!(
        "{:<46} {:>9} {:>15} {:>9}\n",
        "phase", "requests", "upstream calls", "seconds"
    );
    // Writing to a String cannot fail.
    for PhaseResult {
        name,
        requests,
        upstream_calls,
        took,
    } in phases
    {
        let _ = writeln!(
            text,
            "{name:<46} {requests:>9} {upstream_calls:>15} {:>9.2}",
            took.as_secs_f64()
        );
    }
    let _ = writeln!(
        text,
        "\n{:<46} {:>9} {:>15} {:>9}",
        "outcome", "requests", "p50", "p99"
    );
    let counts = metrics.requests(Some(Action::GetImage));
    for (outcome, histogram) in metrics.latencies() {
        let count = counts[outcome as usize];
        if let (Some(p50), Some(p99)) = (quantile(histogram, 0.5), quantile(histogram, 0.99)) {
            let _ = writeln!(
                text,
                "{:<46} {count:>9} {:>15} {:>9}",
                outcome.as_str(),
                short(p50),
                short(p99)
            );
        }
    }
    let from_memory: u64 = Outcome::ALL
        .iter()
        .zip(counts)
        .filter(|(outcome, _)| outcome.is_from_memory())
        .map(|(_, n)| n)
        .sum();
    let all: u64 = counts.iter().sum();
    let _ = writeln!(
        text,
        "\n{:.2} % were answered without an upstream call of their own. The origin verified {} signatures and refused {}.",
        from_memory as f64 * 100.0 / all.max(1) as f64,
        origin.requests,
        origin.rejected.values().sum::<u64>(),
    );
    text
}

/// Prints a table of the gateways at the quota, whose calls include those of the catalogue.
pub(super) fn quota_table(results: &[QuotaResult]) -> String {
    let heading = format!("{ASKED} images at once, at {QUOTA} calls a second");
    let mut text = format!(
        "\n{heading:<46} {:>9} {:>15} {:>9} {:>12}\n",
        "first try", "upstream calls", "throttled", "longest wait"
    );
    // Writing to a String cannot fail.
    for result in results {
        let _ = writeln!(
            text,
            "{:<46} {:>9} {:>15} {:>9} {:>10.2} s",
            result.name,
            result.at_first_try,
            result.upstream_calls,
            result.throttled,
            result.longest_wait.as_secs_f64()
        );
    }
    text
}

/// Prints commands to try while the demo stays up.
pub(super) fn invitation(gateway: SocketAddr, admin: &Address, origin: SocketAddr) -> String {
    let image = Store::id(1);
    format!(
        "\nBoth stay up until Ctrl-C. Try:\n\n  \
         curl -i http://{gateway}/api/v1/images/{image}\n  \
         curl -i 'http://{gateway}/api/v1/images/{image}?Verbose=true'\n  \
         curl -i -H 'Cache-Control: no-cache' http://{gateway}/api/v1/images/{image}\n  \
         curl -i http://{gateway}/api/v1/images/no-such-image\n  \
         curl -s http://{admin}/entries/{image}\n  \
         curl -s http://{admin}/status\n  \
         curl -s -X POST http://{origin}/emulator/images/{image}/touch\n  \
         curl -s -H 'Content-Type: application/json' -d '{{\"image\":\"{image}\"}}' http://{admin}/purge\n"
    )
}

/// Formats a latency; one below the histogram's first bucket is printed as less than that.
fn short(seconds: f64) -> String {
    if seconds < SHORTEST_LATENCY {
        format!("< {:.0?}", Duration::from_secs_f64(SHORTEST_LATENCY))
    } else {
        format!("{:.1?}", Duration::from_secs_f64(seconds))
    }
}
