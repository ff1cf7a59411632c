//! Reasons why a gateway does not start, each with the setting that it is about.

use std::io;

use crate::auth::InvalidClients;
use crate::observability::traces::TracesError;
use crate::server::{Address, BindError, TlsFileErrors};
use crate::transport::BuildError;
use crate::upstream::InvalidOrigin;

/// Failure of a start. No task of the gateway is left running.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A listener's address is taken, or is not this machine's.
    #[error("{setting}: {cause}; {}", .cause.remedy(.setting))]
    Bind {
        /// Setting that names the address.
        setting: &'static str,
        /// Error of the operating system, which knows its remedy.
        cause: BindError,
    },
    /// A setting holds no address to listen on.
    #[error("{0} is no address to listen on: write an IP address and a port")]
    Address(&'static str),
    /// The origin's address is malformed, or its region is unknown.
    #[error("upstream: {0}")]
    Origin(#[from] InvalidOrigin),
    /// The client towards the origin cannot be built, for its CA file or its proxy.
    #[error("upstream: {0}")]
    Client(#[from] BuildError),
    /// The clients file cannot be read, or has errors.
    #[error("auth.clients_file: {0}")]
    Clients(#[from] InvalidClients),
    /// The audit file cannot be opened for appending.
    #[error("audit.to: {0}")]
    Audit(io::Error),
    /// A certificate, key or CA file cannot be used.
    #[error(transparent)]
    Tls(#[from] TlsFileErrors),
    /// The inherited socket can be reached from other machines, and no client would have to authenticate.
    #[error(
        "{0} was passed on to listen on, where others than this machine can reach it, and auth.mode is \"none\": \
         set auth.mode = \"required\", or pass on a socket on loopback or a Unix socket"
    )]
    Open(Address),
    /// The exporter of traces cannot be built from the settings.
    #[error("traces: {0}")]
    Traces(#[from] TracesError),
    /// The file with the admin token cannot be read, or is empty.
    #[error("admin.token_file: {0}")]
    Token(io::Error),
    /// Writes cannot be authorized behind this parent gateway: it would answer the check from its cache.
    #[error(
        "api.writes: a write is authorized on the image as the origin has it now, which a parent gateway asks for only \
         on behalf of a key with the permission refresh: grant get and refresh to this gateway's key in the parent's \
         clients file, or set api.writes = false"
    )]
    WritesUnauthorizable,
}
