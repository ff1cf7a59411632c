//! Events of a server's connections, for metrics and the log.

use std::fmt;
use std::io;

use super::HandshakeError;
use crate::peer::Peer;

/// Receiver of a server's events. It is called between two bytes of a connection, so it must not block.
pub trait Observer: fmt::Debug + Send + Sync + 'static {
    /// A connection was accepted, within the limit or beyond.
    fn accepted(&self);

    /// An accept failed, as it does while there are no file descriptors left.
    fn accept_failed(&self, error: &io::Error);

    /// A connection within the limit begins.
    fn opened(&self);

    /// A connection that was reported as opened has ended.
    fn closed(&self);

    /// A connection beyond the limit was refused.
    fn refused(&self);

    /// A TLS handshake succeeded.
    fn handshake_succeeded(&self);

    /// A TLS handshake failed, was not finished in time, or the client disconnected during it.
    fn handshake_failed(&self, error: &HandshakeError, peer: &Peer);

    /// A client began TLS on a plain port.
    fn tls_on_plain_port(&self, peer: &Peer);
}
