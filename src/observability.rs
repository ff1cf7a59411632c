//! Everything that shows what a gateway does: numbers, spans, lines and records.
//!
//! - [`outcome`] names how a request ended, the same in every output;
//! - [`metrics`] counts, for a scrape and `GET /status`; the only module that uses the `prometheus` crate;
//! - [`traces`] sends spans to an OpenTelemetry collector, if one is set;
//! - [`logging`] writes the log from a thread of its own and reports recurring failures as episodes;
//! - [`access_log`] adds a log line for each request, and [`audit`] a JSON record to a file of its own;
//! - [`history`] keeps an hour of points for the status page;
//! - [`top_images`] estimates which images are requested most.
//!
//! Nothing here waits for its reader: a line, record or span that cannot be queued is dropped and counted.

pub mod access_log;
pub mod audit;
pub mod history;
pub mod logging;
pub mod metrics;
pub mod outcome;
pub mod top_images;
pub mod traces;
