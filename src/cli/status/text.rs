//! Text for a person of a `/status` document. A field that is missing, as in another version's, is left out.

use std::fmt::Write as _;
use std::time::Duration;

use serde_json::Value;

use crate::cli::printable;
use crate::units::{ByteSize, HumanDuration};

/// Images and errors of the origin that are printed.
const MOST_LISTED: usize = 5;

/// Formats a status; with an earlier one of the same process, also the rates between the two.
pub(super) fn render(status: &Value, before: Option<&Value>) -> String {
    let report = StatusReport {
        status,
        before: before.and_then(|before| Some((before, seconds_between(before, status)?))),
    };
    let sections = [
        report.gateway(),
        report.requests(),
        report.origin(),
        report.memory(),
        report.parts(),
        report.top_images(),
        report.errors(),
    ];
    sections.concat()
}

/// Returns the seconds between two statuses; `None` if the process was restarted in between.
fn seconds_between(before: &Value, now: &Value) -> Option<f64> {
    let uptime = |status: &Value| status["uptime_seconds"].as_u64();
    if uptime(now)? < uptime(before)? {
        return None;
    }
    let time = |status: &Value| status["time"].as_str()?.parse::<jiff::Timestamp>().ok();
    let seconds = time(now)?.duration_since(time(before)?).as_secs_f64();
    (seconds > 0.0).then_some(seconds)
}

struct StatusReport<'a> {
    status: &'a Value,
    /// Earlier status, and the seconds since then.
    before: Option<(&'a Value, f64)>,
}

impl StatusReport<'_> {
    /// Formats the increase a second of a counter, by its JSON pointer; empty without an earlier status.
    fn rate(&self, pointer: &str) -> String {
        let Some((before, seconds)) = self.before else {
            return String::new();
        };
        let count = |status: &Value| status.pointer(pointer).and_then(Value::as_u64);
        match (count(before), count(self.status)) {
            (Some(before), Some(now)) => {
                format!("  {:.1}/s", now.saturating_sub(before) as f64 / seconds)
            }
            _ => String::new(),
        }
    }

    fn gateway(&self) -> String {
        let status = self.status;
        let state = if status["ready"] == true {
            "ready"
        } else {
            "NOT READY"
        };
        let up = status["uptime_seconds"].as_u64().unwrap_or_default();
        let listeners = pairs(&status["listen"], |name, address| {
            Some(format!("{name} {}", address.as_str()?))
        });
        format!(
            "gateway     {state}, version {}, up {}, {} connections\nlisteners   {}\n",
            text(&status["version"]),
            HumanDuration::secs(up),
            status["connections"],
            listeners.join(", "),
        )
    }

    fn requests(&self) -> String {
        let status = self.status;
        let ratio = status["hit_ratio"].as_f64();
        let ratio = ratio.map_or("none yet".to_owned(), |ratio| {
            format!("{:.2} %", ratio * 100.0)
        });
        let mut out = format!("hit ratio   {ratio}\nrequests\n");
        for line in pairs(&status["requests"], |outcome, count| {
            let latency = |quantile: &str| {
                let seconds = status["latency_seconds"][outcome][quantile].as_f64()?;
                Some(format!(
                    "  {quantile} {:.1?}",
                    Duration::from_secs_f64(seconds)
                ))
            };
            let latencies = ["p50", "p99"].map(|quantile| latency(quantile).unwrap_or_default());
            let rate = self.rate(&format!("/requests/{outcome}"));
            let count = count.as_u64().filter(|count| *count > 0)?;
            Some(format!(
                "  {outcome:<12}{count:>10}{rate}{}",
                latencies.concat()
            ))
        }) {
            out += &line;
            out.push('\n');
        }
        out
    }

    fn origin(&self) -> String {
        let upstream = &self.status["upstream"];
        let mut out = format!(
            "origin      breaker {}, {} calls in flight\n",
            text(&upstream["breaker"]),
            upstream["in_flight"]
        );
        let results = pairs(&upstream["requests"], |result, count| {
            let rate = self.rate(&format!("/upstream/requests/{result}"));
            let count = count.as_u64().filter(|count| *count > 0)?;
            Some(format!("  {result:<12}{count:>10}{rate}"))
        });
        let paces = pairs(&upstream["operations"], |operation, state| {
            Some(pace(operation, state))
        });
        for line in results.iter().chain(&paces) {
            out += line;
            out.push('\n');
        }
        out
    }

    fn memory(&self) -> String {
        let (cache, lists) = (&self.status["cache"], &self.status["lists"]);
        format!(
            "cache       {} images, {} negative, {} of {}\nlists       {} pages, {} of {}\n",
            cache["entries"],
            cache["negative_entries"],
            size(&cache["bytes"]),
            size(&cache["max_bytes"]),
            lists["pages"],
            size(&lists["bytes"]),
            size(&lists["max_bytes"]),
        )
    }

    fn parts(&self) -> String {
        let credential = &self.status["credential"];
        let mut out = format!(
            "credential  {} from {}",
            text(&credential["access_key_id"]),
            text(&credential["source"])
        );
        for (name, before) in [("expires_at", ", until "), ("last_error", "\n  ")] {
            if let Some(value) = credential[name].as_str() {
                out.extend([before, &printable(value)]);
            }
        }
        out.push('\n');
        let (catalogue, shared) = (&self.status["catalogue"], &self.status["shared_cache"]);
        // Writing to a String cannot fail.
        if !catalogue.is_null() {
            let _ = writeln!(
                out,
                "catalogue   {} images, renewed {}, changed {}, answered {}, mismatches {}",
                catalogue["images"],
                catalogue["renewed"],
                catalogue["changed"],
                catalogue["answered"],
                catalogue["mismatches"],
            );
        }
        if !shared.is_null() {
            let state = if shared["up"] == true { "up" } else { "LOST" };
            let _ = writeln!(
                out,
                "shared      {state}, breaker {}, {} replicas",
                text(&shared["breaker"]),
                shared["replicas"]
            );
        }
        out
    }

    fn top_images(&self) -> String {
        list("top images", &self.status["top_images"], |image| {
            let requests = image["requests"].as_f64().unwrap_or_default();
            format!("{:<40} {requests:>9.0}", text(&image["ImageId"]))
        })
    }

    fn errors(&self) -> String {
        list(
            "recent errors of the origin",
            &self.status["recent_errors"],
            |error| {
                ["time", "operation", "result", "code", "request_id"]
                    .map(|field| text(&error[field]))
                    .join("  ")
            },
        )
    }
}

/// Formats an operation's pace, its queue, and the reasons for which calls are held.
fn pace(operation: &str, state: &Value) -> String {
    let held = state["held"].as_array().map(Vec::as_slice).unwrap_or(&[]);
    let held: Vec<String> = held.iter().map(text).collect();
    let held = if held.is_empty() {
        String::new()
    } else {
        format!(", HELD: {}", held.join(", "))
    };
    let pace = &state["pace"];
    if pace.is_null() {
        return format!("  {operation:<18}no pace{held}");
    }
    let number = |field: &str| pace[field].as_f64().unwrap_or_default();
    format!(
        "  {operation:<18}pace {:.1} of {:.1} calls/s, {} queued, wait {:.1} s{held}",
        number("per_second"),
        number("configured"),
        pace["waiting"],
        number("wait_seconds"),
    )
}

/// Formats each member of an object for which the function returns a line.
fn pairs(object: &Value, line: impl Fn(&str, &Value) -> Option<String>) -> Vec<String> {
    let members = object.as_object().into_iter().flatten();
    members
        .filter_map(|(name, value)| line(name, value))
        .collect()
}

/// Formats the first items of a list below a title; nothing for an empty list.
fn list(title: &str, items: &Value, line: impl Fn(&Value) -> String) -> String {
    let items = items.as_array().map(Vec::as_slice).unwrap_or(&[]);
    let mut out = String::new();
    for (at, item) in items.iter().take(MOST_LISTED).enumerate() {
        if at == 0 {
            out.extend([title, "\n"]);
        }
        out.extend(["  ", line(item).trim_end(), "\n"]);
    }
    out
}

/// Returns a text without control characters; `-` for none.
fn text(value: &Value) -> String {
    value.as_str().map_or("-".to_owned(), printable)
}

/// Formats a number of bytes in the largest unit of which there is at least one, rounded down.
fn size(value: &Value) -> String {
    let bytes = value.as_u64().unwrap_or_default();
    let unit = [1 << 30, 1 << 20, 1 << 10]
        .into_iter()
        .find(|unit| bytes >= *unit);
    let unit: u64 = unit.unwrap_or(1);
    ByteSize(bytes / unit * unit).to_string()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn status(time: &str, uptime: u64, hits: u64) -> Value {
        json!({
            "version": "1.2.3", "time": time, "uptime_seconds": uptime, "ready": true,
            "listen": { "listen": "127.0.0.1:1", "observe": null },
            "requests": { "hit": hits, "miss": 0 },
            "hit_ratio": 0.5,
            "latency_seconds": { "hit": { "p50": 0.00005, "p99": 0.001 } },
            "upstream": {
                "requests": { "ok": 4 }, "in_flight": 1, "breaker": "closed",
                "operations": { "GetImage": { "breaker": "closed", "held": ["throttled"], "quota": {},
                    "pace": { "per_second": 31.0, "configured": 47.0, "lowered": true, "alone": false, "waiting": 2, "wait_seconds": 0.5 } } },
            },
            "recent_errors": [{ "time": "t", "operation": "GetImage", "result": "timeout", "code": null, "request_id": "a\u{1b}[31mb" }],
            "connections": 3,
            "top_images": [],
            "cache": { "entries": 7, "negative_entries": 1, "bytes": 3_000_000, "max_bytes": 268_435_456 },
            "lists": { "pages": 0, "bytes": 0, "max_bytes": 33_554_432 },
            "catalogue": null,
            "credential": { "source": "env", "access_key_id": "LTAI****ests", "expires_at": null },
            "shared_cache": { "up": false, "breaker": "open", "replicas": 2 },
        })
    }

    #[test]
    fn a_status_is_printed_without_control_characters() {
        let text = render(&status("2026-11-26T12:00:00Z", 60, 10), None);
        for part in [
            "ready, version 1.2.3, up 1m, 3 connections",
            "hit                 10  p50 50.0µs  p99 1.0ms\n",
            "pace 31.0 of 47.0 calls/s, 2 queued, wait 0.5 s, HELD: throttled",
            "7 images, 1 negative, 2MiB of 256MiB",
            "LTAI****ests from env\n",
            "LOST, breaker open, 2 replicas",
            "t  GetImage  timeout  -  a [31mb",
        ] {
            assert!(text.contains(part), "{part}\n{text}");
        }
        assert!(!text.contains("miss") && !text.contains("catalogue"));
    }

    #[test]
    fn rates_are_those_of_one_process() {
        let before = status("2026-11-26T12:00:00Z", 60, 10);
        let later = render(&status("2026-11-26T12:00:04Z", 64, 30), Some(&before));
        assert!(later.contains("30  5.0/s"), "{later}");
        let restarted = render(&status("2026-11-26T12:00:04Z", 1, 30), Some(&before));
        assert!(!restarted.contains("/s  p50"), "{restarted}");
    }

    #[test]
    fn another_versions_status_is_printed_as_far_as_it_goes() {
        assert!(render(&json!({ "ready": false }), None).starts_with("gateway     NOT READY"));
    }
}
