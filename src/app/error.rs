//! Reasons why a gateway does not start.

use std::io;

use crate::auth::InvalidClients;
use crate::observability::traces::BadTraces;
use crate::server::{Address, BadFiles, BindError};
use crate::transport::BuildError;
use crate::upstream::InvalidOrigin;

/// The gateway cannot start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A listener's address is taken or not ours.
    #[error("{setting}: {cause}; {}", .cause.remedy(.setting))]
    Bind {
        /// The setting that names it.
        setting: &'static str,
        /// What the kernel said.
        cause: BindError,
    },
    /// A setting that names an address is no address.
    #[error("{0} is no address to listen on")]
    Address(&'static str),
    /// The origin's address is none.
    #[error("upstream: {0}")]
    Origin(#[from] InvalidOrigin),
    /// The client towards the origin cannot be made.
    #[error("upstream: {0}")]
    Client(#[from] BuildError),
    /// The clients' file cannot be used.
    #[error("auth.clients_file: {0}")]
    Clients(#[from] InvalidClients),
    /// The audit's file cannot be opened.
    #[error("audit.to: {0}")]
    Audit(io::Error),
    /// A file of TLS cannot be used.
    #[error(transparent)]
    Tls(#[from] BadFiles),
    /// The socket that was passed on is open to other machines, and nobody would have to sign in.
    #[error(
        "{0} was passed on to listen on, where others than this machine can reach it, and auth.mode is \"none\": \
         set auth.mode = \"required\", or pass on a socket on loopback or a Unix socket"
    )]
    Open(Address),
    /// Traces cannot be sent as the settings say.
    #[error("traces: {0}")]
    Traces(#[from] BadTraces),
    /// The admin token cannot be read.
    #[error("admin.token_file: {0}")]
    Token(io::Error),
    /// Writes cannot be authorized behind this parent gateway.
    #[error(
        "api.writes: a write is authorized on the image as the origin has it now, which a parent gateway asks for only \
         on behalf of a key with the permission refresh: grant get and refresh to this gateway's key in the parent's \
         clients file, or set api.writes = false"
    )]
    WritesUnauthorizable,
}
