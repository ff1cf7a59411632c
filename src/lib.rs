//! A caching, signing reverse proxy in front of Alibaba Cloud PAI's AIWorkSpace image API.
//!
//! Start reading at [`gateway`], which handles a request from its route to its response. It uses [`auth`] to decide
//! who may see what, [`cache`] and [`shared_cache`] to answer from memory, and [`upstream`] to call the origin.
//! [`app`] builds and runs all parts, [`config`] gathers their settings, [`cli`] holds the commands.
//! ARCHITECTURE.md is the map of the code.

pub mod admin;
pub mod app;
pub mod auth;
pub mod cache;
pub mod cli;
pub mod config;
pub mod gateway;
pub mod observability;
pub mod response;
pub mod shared_cache;
pub mod upstream;

pub use aliyun_auth as signing;
pub use aliyun_auth::{clock, credentials};
use host::{bounded_read, error_chain, private_file};
pub use host::{environment, units};
pub use http_edge::{body, peer, server, transport};
pub use pai_api as api;
#[cfg(feature = "emulator")]
pub use pai_emulator as emulator;
