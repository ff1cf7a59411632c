//! The `[listen]` settings.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Address, TlsConfig};
use host::units::{ByteSize, HumanDuration};

/// The `[listen]` settings.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// IP address and port; port 0 takes a free one.
    pub address: String,
    /// Path of a Unix socket to listen on instead.
    pub unix: Option<String>,
    /// The socket's permissions, in octal.
    pub unix_mode: String,
    /// Number of open connections; one more is answered 503 and closed, on a TLS port only closed.
    pub max_connections: u32,
    /// Number of requests that may wait at once; one more is answered 429. Hits do not wait.
    pub max_in_flight: u32,
    /// Connections that the kernel queues until they are accepted.
    pub backlog: u32,
    /// HTTP/2 requests open at once, over all connections; one more is refused and may be sent again.
    pub max_streams: u32,
    /// Bytes of responses that clients have not taken, over all connections; what does not fit is answered
    /// 429.
    pub max_buffered: ByteSize,
    /// The same for one connection; a single response may be longer.
    pub max_buffered_per_connection: ByteSize,
    /// Bytes of the longest request head.
    pub max_head: ByteSize,
    /// Time for a request's head to arrive, from its first byte; also for the first byte of a connection.
    pub head_timeout: HumanDuration,
    /// Time after which an idle connection is closed. SDKs lose a request when it is short.
    pub idle_timeout: HumanDuration,
    /// Time after which a client that takes no byte of its response is closed.
    pub write_timeout: HumanDuration,
    /// Encryption; off unless its files are named.
    pub tls: TlsConfig,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            address: "127.0.0.1:8080".to_owned(),
            unix: None,
            unix_mode: "0660".to_owned(),
            max_connections: 20_000,
            max_in_flight: 20_000,
            backlog: 4096,
            max_streams: 20_000,
            max_buffered: ByteSize(64 << 20),
            max_buffered_per_connection: ByteSize(8 << 20),
            max_head: ByteSize(16 << 10),
            head_timeout: HumanDuration::secs(5),
            idle_timeout: HumanDuration::secs(75),
            write_timeout: HumanDuration::secs(10),
            tls: TlsConfig::default(),
        }
    }
}

impl Config {
    /// Returns the address to listen on; `None` if the setting cannot be parsed.
    #[must_use]
    pub fn address(&self) -> Option<Address> {
        let mode = u32::from_str_radix(&self.unix_mode, 8).ok()?;
        Address::parse(&self.address, self.unix.as_deref(), mode)
    }
}
