//! HTTP at both edges of a process: a server that is bounded in every way, and a client that never sends a request twice.
//!
//! [`server`] accepts connections and hands requests to a [`Service`](server::Service); [`transport`] sends them;
//! [`body`] is a response's body, counted against a budget while nobody reads it; [`peer`] is the other end of a
//! connection. What is observed goes to an [`Observer`](server::Observer), so that nothing here knows metrics.

pub mod body;
pub mod peer;
pub mod server;
pub mod transport;
