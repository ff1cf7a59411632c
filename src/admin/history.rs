//! `GET /status/history`: the last hour, a column for each figure.

use jiff::Timestamp;
use serde_json::{Map, Value, json};

use super::Admin;
use crate::observability::history::{INTERVAL, Percentiles, Point};
use crate::observability::outcome::{CallResult, Outcome};

impl Admin {
    pub(super) fn past_hour(&self) -> Value {
        columns(&self.history.points())
    }
}

fn columns(points: &[Point]) -> Value {
    let column = |of: &dyn Fn(&Point) -> Value| Value::Array(points.iter().map(of).collect());
    let quantile = |of: fn(Percentiles) -> f64| column(&|point| json!(point.latency.map(of)));
    let requests: Map<String, Value> = Outcome::ALL
        .into_iter()
        .map(|outcome| {
            let counts = column(&|point| point.requests[outcome as usize].into());
            (outcome.as_str().to_owned(), counts)
        })
        .collect();
    let calls: Map<String, Value> = CallResult::ALL
        .into_iter()
        .map(|result| {
            let counts = column(&|point| point.calls[result as usize].into());
            (result.as_str().to_owned(), counts)
        })
        .collect();
    json!({
        "interval_seconds": INTERVAL.as_secs(),
        "time": column(&|point| time(point.time)),
        "seconds": column(&|point| point.seconds.into()),
        "requests": requests,
        "upstream": { "requests": calls, "in_flight": column(&|point| point.in_flight.into()) },
        "latency_seconds": { "p50": quantile(|latency| latency.p50), "p99": quantile(|latency| latency.p99) },
    })
}

fn time(milliseconds: i64) -> Value {
    let time = Timestamp::from_millisecond(milliseconds);
    time.map_or(Value::Null, |time| time.to_string().into())
}
