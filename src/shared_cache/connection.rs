//! Connection to the server: one for commands and channel messages alike (RESP3), or one to each node of
//! a cluster.

use std::io;
use std::sync::Arc;

use redis::aio::{AsyncPushSender, ConnectionLike, MultiplexedConnection};
use redis::cluster::ClusterClientBuilder;
use redis::cluster_async::ClusterConnection;
use redis::{
    AsyncConnectionConfig, ClientTlsConfig, Cmd, ConnectionAddr, ConnectionInfo,
    IntoConnectionInfo, Pipeline, ProtocolVersion, RedisError, RedisFuture, RedisResult,
    TlsCertificates, Value,
};
use tokio::fs;
use tokio::task::AbortHandle;
use tokio::time::timeout;

use super::{Config, socket};
use crate::transport::BuildError;

/// Signed-in connection; clones share it, and it ends with the last clone.
#[derive(Clone)]
pub(super) enum RedisConnection {
    /// Connection to one server, and the task that reads and writes it.
    One(
        MultiplexedConnection,
        #[expect(dead_code, reason = "the task ends when it is dropped")] Arc<Driver>,
    ),
    /// Connections to the nodes of a cluster, which the library makes again by itself.
    Cluster(ClusterConnection),
}

/// Failure to connect or to authenticate; its text names the setting, never a secret.
#[derive(Debug, thiserror::Error)]
pub(super) enum ConnectionError {
    #[error("{setting}: {error}")]
    File {
        setting: &'static str,
        error: io::Error,
    },
    #[error(transparent)]
    Socket(#[from] io::Error),
    #[error(transparent)]
    Tls(#[from] BuildError),
    #[error(transparent)]
    Server(#[from] RedisError),
}

/// Guard that aborts a connection's task when the last clone of the connection is dropped.
pub(super) struct Driver(AbortHandle);

impl Drop for Driver {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Certificates and key for TLS, in PEM form, as the files hold them at this connection.
pub(super) struct Pem {
    /// Root certificates to trust instead of the system's.
    pub(super) roots: Option<Vec<u8>>,
    /// Certificate chain and private key of this gateway.
    pub(super) identity: Option<(Vec<u8>, Vec<u8>)>,
}

/// Connects and authenticates. The files are read again each time, so a rotated password or certificate is used.
/// `push` receives the messages of subscribed channels.
///
/// # Errors
/// [`ConnectionError`] where a file cannot be read, the server cannot be reached, or the sign-in fails.
pub(super) async fn connect(
    url: &str,
    config: &Config,
    push: impl AsyncPushSender,
) -> Result<RedisConnection, ConnectionError> {
    let info = with_secrets(url.into_connection_info()?, config).await?;
    let pem = Pem::read(config).await?;
    let is_tls = matches!(info.addr(), ConnectionAddr::TcpTls { .. });
    if config.cluster {
        let mut builder = ClusterClientBuilder::new([info])
            .use_protocol(ProtocolVersion::RESP3)
            .push_sender(push)
            .retries(1)
            .connection_timeout(config.connect_timeout.0)
            .response_timeout(config.connect_timeout.0);
        if is_tls {
            builder = builder.certs(pem.certificates());
        }
        let connection = builder.build()?.get_async_connection().await?;
        return Ok(RedisConnection::Cluster(connection));
    }
    let how = AsyncConnectionConfig::new()
        .set_push_sender(push)
        // Every caller sets a deadline of its own.
        .set_response_timeout(None);
    let connecting = async {
        let stream = socket::open(info.addr(), &pem).await?;
        let settings = info.redis_settings();
        Ok::<_, ConnectionError>(
            MultiplexedConnection::new_with_config(settings, stream, how).await?,
        )
    };
    let late = |_| io::Error::from(io::ErrorKind::TimedOut);
    let connecting = timeout(config.connect_timeout.0, connecting);
    let (connection, driver) = connecting.await.map_err(late)??;
    let driver = Driver(tokio::spawn(driver).abort_handle());
    Ok(RedisConnection::One(connection, Arc::new(driver)))
}

async fn with_secrets(
    info: ConnectionInfo,
    config: &Config,
) -> Result<ConnectionInfo, ConnectionError> {
    let mut settings = info
        .redis_settings()
        .clone()
        .set_protocol(ProtocolVersion::RESP3)
        // One command less that the server's access list has to allow.
        .set_skip_set_lib_name();
    if let Some(username) = &config.username {
        settings = settings.set_username(username);
    }
    if let Some(password) = read("shared_cache.password_file", &config.password_file).await? {
        let password = String::from_utf8_lossy(&password).trim_end().to_owned();
        settings = settings.set_password(password);
    }
    Ok(info.set_redis_settings(settings))
}

impl Pem {
    async fn read(config: &Config) -> Result<Self, ConnectionError> {
        let cert = read("shared_cache.cert_file", &config.cert_file).await?;
        let key = read("shared_cache.key_file", &config.key_file).await?;
        Ok(Self {
            roots: read("shared_cache.ca_file", &config.ca_file).await?,
            identity: cert.zip(key),
        })
    }

    /// Converts to the form that the library's cluster client takes.
    fn certificates(self) -> TlsCertificates {
        let identity = self.identity;
        TlsCertificates {
            client_tls: identity.map(|(client_cert, client_key)| ClientTlsConfig {
                client_cert,
                client_key,
            }),
            root_cert: self.roots,
        }
    }
}

async fn read(
    setting: &'static str,
    path: &Option<String>,
) -> Result<Option<Vec<u8>>, ConnectionError> {
    let Some(path) = path else { return Ok(None) };
    let read = fs::read(path).await;
    read.map(Some)
        .map_err(|error| ConnectionError::File { setting, error })
}

impl RedisConnection {
    /// Subscribes to a channel, whose messages go to the `push` of [`connect`].
    pub(super) async fn subscribe(&mut self, channel: &str) -> RedisResult<()> {
        match self {
            Self::One(connection, _) => connection.subscribe(channel).await,
            Self::Cluster(connection) => connection.subscribe(channel).await,
        }
    }
}

impl ConnectionLike for RedisConnection {
    fn req_packed_command<'a>(&'a mut self, cmd: &'a Cmd) -> RedisFuture<'a, Value> {
        match self {
            Self::One(connection, _) => connection.req_packed_command(cmd),
            Self::Cluster(connection) => connection.req_packed_command(cmd),
        }
    }

    fn req_packed_commands<'a>(
        &'a mut self,
        pipeline: &'a Pipeline,
        offset: usize,
        count: usize,
    ) -> RedisFuture<'a, Vec<Value>> {
        match self {
            Self::One(connection, _) => connection.req_packed_commands(pipeline, offset, count),
            Self::Cluster(connection) => connection.req_packed_commands(pipeline, offset, count),
        }
    }

    fn get_db(&self) -> i64 {
        match self {
            Self::One(connection, _) => connection.get_db(),
            Self::Cluster(connection) => connection.get_db(),
        }
    }
}
