//! A caching, signing reverse proxy in front of Alibaba Cloud PAI's AIWorkSpace image API.
//!
//! Read [`gateway`] first: it is the way of a request. [`cache`] and [`upstream`] are what it stands
//! on, [`app`] puts the parts together, [`config`] gathers their settings. ARCHITECTURE.md is the map.

pub mod admin;
pub mod app;
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
pub mod observability;
pub mod peer;
pub mod priority;
mod private_file;
pub mod reload;
pub mod response;
pub mod server;
pub mod shared_cache;
pub mod transport;
pub mod units;
pub mod upstream;

// The parts of the wing under their former paths, while others move.
#[doc(hidden)]
pub use observability::{
    access_log as access, audit, logging as telemetry, metrics, outcome, top_images, traces,
};

pub use aliyun_auth as signing;
pub use pai_api as api;
