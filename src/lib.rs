//! A caching, signing reverse proxy in front of Alibaba Cloud PAI's AIWorkSpace image API.
pub mod api;
pub mod signing;
