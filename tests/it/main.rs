//! Integration tests of the gateway.
#![expect(
    clippy::unwrap_used,
    reason = "a test that cannot go on should say where"
)]

mod support;

mod access;
mod admin;
mod auth;
mod authorization;
mod cache_control;
mod caching;
mod catalogue;
mod client_add;
mod coalescing;
mod commands;
mod connections;
mod credentials;
mod documents;
mod entries;
mod errors;
mod faults;
mod fuzz;
mod hidden_images;
mod https;
mod layering;
mod listener;
mod lists;
mod log;
mod malformed;
mod memory_model;
mod metrics;
mod outage;
mod outage_log;
mod outcomes;
mod pace;
mod page;
mod parent;
mod pipelining;
mod probes;
mod process;
mod proxy;
mod purge;
mod reload;
mod replay;
mod resolve;
mod secrets;
mod service_accounts;
mod shared;
mod shared_servers;
mod signatures;
mod snapshot;
mod stale;
mod status;
mod swapped_answers;
mod tls;
mod tls_reload;
mod traces;
mod unix;
mod unread;
mod upgrade;
mod vectors;
mod wire;
mod write_access;
mod writes;
