//! Who is at the other end of a connection, as far as the connection itself tells.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;

/// The other end of a connection.
#[derive(Debug, Clone, Default)]
pub struct Peer {
    /// Its address; `None` behind a Unix socket.
    pub address: Option<SocketAddr>,
    /// Whether the connection is encrypted by TLS.
    pub encrypted: bool,
    /// The names in its verified certificate (subjectAltName: URI and DNS); none without one.
    pub names: Arc<[String]>,
}

impl Peer {
    /// Whether nobody between the two ends can read along: TLS, loopback or a Unix socket.
    #[must_use]
    pub fn is_private(&self) -> bool {
        self.encrypted
            || self
                .address
                .is_none_or(|address| address.ip().to_canonical().is_loopback())
    }
}

/// The address as logs show it: `unix` behind a Unix socket.
impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.address {
            Some(address) => address.fmt(f),
            None => f.write_str("unix"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Peer;

    #[test]
    fn only_tls_loopback_and_unix_sockets_are_private() {
        let peer = |address: &str, encrypted| Peer {
            address: Some(address.parse().unwrap()),
            encrypted,
            ..Peer::default()
        };
        assert!(Peer::default().is_private());
        assert!(peer("127.0.0.1:1", false).is_private());
        assert!(peer("[::1]:1", false).is_private());
        assert!(peer("[::ffff:127.0.0.1]:1", false).is_private());
        assert!(peer("10.0.0.1:1", true).is_private());
        assert!(!peer("10.0.0.1:1", false).is_private());
        assert!(!peer("[2001:db8::1]:1", false).is_private());
    }
}
