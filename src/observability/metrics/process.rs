//! Metrics of this process, read from /proc/self under the names and meanings that every Prometheus client uses.
//!
//! They are read at each scrape. Where there is no /proc, nothing is exposed.

use std::fs;

use parking_lot::Mutex;
use prometheus::{Counter, IntGauge};
use rustix::param::{clock_ticks_per_second, page_size};
use rustix::process::{Resource, getrlimit};

use super::register::{OnFirstUse, metrics};

metrics! {
    /// Metrics of this process, as the operating system counts them.
    pub(super) struct ProcessMetrics named "process_" {
        /// Total user and system CPU time spent in seconds.
        cpu_seconds: Counter = "cpu_seconds_total",
        /// Maximum number of open file descriptors.
        max_fds: IntGauge = "max_fds",
        /// Number of open file descriptors.
        open_fds: IntGauge = "open_fds",
        /// Resident memory size in bytes.
        resident_memory: IntGauge = "resident_memory_bytes",
        /// Start time of the process since unix epoch in seconds.
        start_time: IntGauge = "start_time_seconds",
        /// Number of OS threads in the process.
        threads: IntGauge = "threads",
        /// Virtual memory size in bytes.
        virtual_memory: IntGauge = "virtual_memory_bytes",
    }
}

/// Reads /proc/self into the metrics, and exposes them at the first success.
pub(super) fn update(metrics: &OnFirstUse<Mutex<ProcessMetrics>>) {
    let stat = fs::read_to_string("/proc/self/stat").ok();
    let Some(stat) = stat.as_deref().and_then(Stat::parse) else {
        return;
    };
    // Two scrapes at once would otherwise both add the CPU time since the scrape before.
    let metrics = metrics.lock();
    let ticks = clock_ticks_per_second();
    let cpu_seconds = stat.cpu_ticks as f64 / ticks as f64;
    let counted = metrics.cpu_seconds.get();
    metrics.cpu_seconds.inc_by((cpu_seconds - counted).max(0.0));
    metrics.threads.set(whole(stat.threads));
    metrics.virtual_memory.set(whole(stat.virtual_bytes));
    let resident = stat.resident_pages.saturating_mul(page_size() as u64);
    metrics.resident_memory.set(whole(resident));
    if let Some(limit) = getrlimit(Resource::Nofile).current {
        metrics.max_fds.set(whole(limit));
    }
    if let Ok(open) = fs::read_dir("/proc/self/fd") {
        // One of them is the directory that is being read.
        metrics.open_fds.set(whole(open.count() as u64) - 1);
    }
    // Read once: /proc/stat also lists every interrupt of the machine, and the start does not change.
    if metrics.start_time.get() == 0
        && let Some(boot) = boot_time()
    {
        metrics
            .start_time
            .set(whole(boot + stat.start_ticks / ticks));
    }
}

/// The fields of /proc/self/stat that are exposed, in the kernel's own units.
#[derive(Debug, PartialEq, Eq)]
struct Stat {
    cpu_ticks: u64,
    threads: u64,
    /// Ticks from the boot of the machine to the start of the process.
    start_ticks: u64,
    virtual_bytes: u64,
    resident_pages: u64,
}

impl Stat {
    /// Parses the text of /proc/self/stat; `None` for one that has another form.
    fn parse(text: &str) -> Option<Self> {
        // The second field is the program's name in parentheses, and may itself hold spaces and parentheses.
        let (_, after_name) = text.rsplit_once(')')?;
        let fields: Vec<&str> = after_name.split_ascii_whitespace().collect();
        // proc_pid_stat(5) numbers the fields from 1; the first one after the name is the third.
        let field = |number: usize| fields.get(number - 3)?.parse::<u64>().ok();
        Some(Self {
            cpu_ticks: field(14)? + field(15)?,
            threads: field(20)?,
            start_ticks: field(22)?,
            virtual_bytes: field(23)?,
            resident_pages: field(24)?,
        })
    }
}

/// Returns the time at which the machine was booted, in seconds since 1970.
fn boot_time() -> Option<u64> {
    let text = fs::read_to_string("/proc/stat").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("btime "));
    line?.trim().parse().ok()
}

fn whole(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_counted_after_the_name_whatever_it_holds() {
        let text =
            "7 (a) b (c) S 1 2 3 4 5 6 7 8 9 10 30 12 13 14 15 16 4 18 900 4096000 250 21 22\n";
        let expected = Stat {
            cpu_ticks: 42,
            threads: 4,
            start_ticks: 900,
            virtual_bytes: 4_096_000,
            resident_pages: 250,
        };
        assert_eq!(Stat::parse(text), Some(expected));
        assert_eq!(Stat::parse("7 (a) S 1 2"), None);
        assert_eq!(Stat::parse(""), None);
    }
}
