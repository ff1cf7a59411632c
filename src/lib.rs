//! A caching, signing reverse proxy in front of Alibaba Cloud PAI's AIWorkSpace image API.
//!
//! Read [`gateway`] first: it is the way of a request. [`cache`] and [`upstream`] are what it stands
//! on, [`app`] puts the parts together, [`config`] gathers their settings. ARCHITECTURE.md is the map.

pub mod access;
pub mod admin;
pub mod api;
pub mod app;
pub mod audit;
pub mod auth;
mod bounded_read;
pub mod breaker;
pub mod cache;
pub mod cli;
pub mod clock;
pub mod config;
pub mod credentials;
pub mod emulator;
pub mod gateway;
pub mod metrics;
pub mod outcome;
pub mod peer;
pub mod priority;
mod private_file;
pub mod ranking;
pub mod reload;
pub mod response;
pub mod server;
pub mod shared_cache;
pub mod signing;
pub mod telemetry;
pub mod traces;
pub mod transport;
pub mod units;
pub mod upstream;
pub mod via;
