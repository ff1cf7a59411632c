//! Totals by client, refusals, and the certificate's end, for `GET /status`.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use prometheus::IntCounterVec;
use prometheus::core::Collector;
use serde::Serialize;

use super::Metrics;

/// Answers to one client since the start, or since the operator added it to the clients' file.
#[derive(Debug, Default, Clone, PartialEq, Eq, Serialize)]
pub struct ClientTotals {
    /// Name in the clients' file; `anonymous` without authentication, `unauthenticated` for those who failed it.
    pub client: String,
    /// All answers, whatever their outcome and operation.
    pub requests: u64,
    /// Answers with the outcome `rejected`: malformed, not authenticated, or over a limit.
    pub rejected: u64,
    /// Answers with the outcome `denied`: images that the client may not see.
    pub denied: u64,
    /// Answers with the outcome `error`: neither the origin nor the cache had an image.
    pub error: u64,
}

impl Metrics {
    /// Returns the number of clients that sent a request, and the totals of the busiest, at most `most`.
    #[must_use]
    pub fn clients(&self, most: usize) -> (usize, Vec<ClientTotals>) {
        let mut clients = BTreeMap::<String, ClientTotals>::new();
        for (labels, count) in series(&self.client_requests) {
            let [client, outcome] = labels.as_slice() else {
                continue;
            };
            let totals = clients.entry(client.clone()).or_default();
            totals.requests += count;
            match outcome.as_str() {
                "rejected" => totals.rejected += count,
                "denied" => totals.denied += count,
                "error" => totals.error += count,
                _ => {}
            }
        }
        let named = clients
            .into_iter()
            .map(|(client, totals)| ClientTotals { client, ..totals });
        let mut seen: Vec<_> = named.filter(|totals| totals.requests > 0).collect();
        seen.sort_by_key(|totals| Reverse(totals.requests));
        let known = seen.len();
        seen.truncate(most);
        (known, seen)
    }

    /// Returns the requests whose authentication was refused, by reason; reasons that never occurred are left out.
    #[must_use]
    pub fn authentication_refusals(&self) -> BTreeMap<String, u64> {
        by_first_label(&self.sign_ins_refused)
    }

    /// Returns the connections that were refused at `listen.max_connections`, by listener; listeners without any are left out.
    #[must_use]
    pub fn connection_refusals(&self) -> BTreeMap<String, u64> {
        by_first_label(&self.connections_refused)
    }

    /// Returns the time at which the certificate of the data port expires, in seconds since 1970; `None` where the port
    /// speaks plain HTTP, or the certificate's end cannot be read.
    #[must_use]
    pub fn certificate_expires(&self) -> Option<f64> {
        self.certificate_expiry.get().map(prometheus::Gauge::get)
    }
}

fn by_first_label(family: &IntCounterVec) -> BTreeMap<String, u64> {
    let series = series(family).into_iter().filter(|(_, count)| *count > 0);
    let first = series.filter_map(|(labels, count)| Some((labels.into_iter().next()?, count)));
    first.collect()
}

/// Returns the label values, in the order of the labels' names, and the count of each series that has been used.
fn series(family: &IntCounterVec) -> Vec<(Vec<String>, u64)> {
    let families = family.collect();
    let metrics = families.iter().flat_map(|family| family.get_metric());
    let series = metrics.map(|metric| {
        let labels = metric.get_label().iter();
        let values = labels.map(|label| label.value().to_owned()).collect();
        // A counter of whole numbers, which a float holds exactly up to 2^53.
        (values, metric.get_counter().get_value() as u64)
    });
    series.collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::observability::outcome::Outcome;

    #[test]
    fn the_busiest_clients_come_first() {
        let metrics = Metrics::new();
        for (name, outcome, count) in [
            ("quiet", Outcome::Hit, 0),
            ("a", Outcome::Hit, 1),
            ("b", Outcome::Hit, 2),
            ("b", Outcome::Rejected, 3),
        ] {
            let client = metrics.client(name);
            (0..count).for_each(|_| client.answered(outcome));
        }
        let (known, busiest) = metrics.clients(1);
        assert_eq!(known, 2);
        let [b] = busiest.as_slice() else {
            panic!("{busiest:?}")
        };
        assert_eq!((b.client.as_str(), b.requests, b.rejected), ("b", 5, 3));
    }

    #[test]
    fn refusals_are_those_that_occurred() {
        let metrics = Metrics::new();
        metrics.expose_authentication(&["unknown_key", "wrong_signature"]);
        metrics.authentication_refused("unknown_key");
        let refusals = metrics.authentication_refusals();
        assert_eq!(refusals, BTreeMap::from([("unknown_key".to_owned(), 1)]));
        assert_eq!(metrics.certificate_expires(), None);
    }
}
