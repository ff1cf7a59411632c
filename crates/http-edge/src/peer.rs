//! The peer of an accepted connection: its address, and the identity that TLS proves.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;

/// Peer of an accepted connection, as far as the connection itself identifies it.
#[derive(Debug, Clone, Default)]
pub struct Peer {
    /// Address of the peer; `None` for a Unix socket, whose access the file system controls.
    pub address: Option<SocketAddr>,
    /// True for a TLS connection.
    pub encrypted: bool,
    /// Names in the verified client certificate (subjectAltName: URI and DNS); empty without a certificate.
    pub names: Arc<[String]>,
}

impl Peer {
    /// Returns whether no third party can read the connection: it uses TLS, the loopback or a Unix socket. Bearer tokens
    /// are accepted over nothing else.
    #[must_use]
    pub fn is_private(&self) -> bool {
        self.encrypted
            || self
                .address
                .is_none_or(|address| address.ip().to_canonical().is_loopback())
    }
}

/// Formats the address as logs show it; a Unix socket is `unix`.
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
