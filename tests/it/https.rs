//! An origin behind TLS, like the real one.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use http::Request;
use http_body_util::Full;
use pai_image_gateway::transport::{self, Proxy};
use rcgen::CertifiedKey;
use rustls::ServerConfig;
use rustls::pki_types::PrivateKeyDer;
use tempfile::TempDir;
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;
use tower::ServiceExt;

use crate::support::{DEADLINE, Setup, TestGateway};

/// Ends TLS in front of an emulator, as the real origin's load balancer does.
pub(crate) struct Front {
    address: SocketAddr,
    origin: Arc<OnceLock<SocketAddr>>,
    handshakes: Arc<AtomicU64>,
    folder: TempDir,
    _tasks: JoinSet<()>,
}

impl Front {
    /// Starts with a certificate for `localhost`, which is also the trusted root.
    pub(crate) async fn start() -> Self {
        let CertifiedKey { cert, signing_key } =
            rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        let folder = TempDir::new().unwrap();
        std::fs::write(folder.path().join("ca.pem"), cert.pem()).unwrap();
        let key = PrivateKeyDer::try_from(signing_key.serialize_der()).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let builder = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap();
        let config = builder
            .with_no_client_auth()
            .with_single_cert(vec![cert.der().clone()], key)
            .unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (origin, handshakes) = (Arc::new(OnceLock::new()), Arc::new(AtomicU64::new(0)));
        let mut tasks = JoinSet::new();
        tasks.spawn(accept(
            listener,
            TlsAcceptor::from(Arc::new(config)),
            Arc::clone(&origin),
            Arc::clone(&handshakes),
        ));
        Self {
            address,
            origin,
            handshakes,
            folder,
            _tasks: tasks,
        }
    }

    async fn gateway(&self, host: &str, ca_file: Option<&Path>) -> TestGateway {
        self.gateway_with(host, ca_file, |_| {}).await
    }

    /// Starts with a certificate of its own in front of whatever listens on `address`.
    pub(crate) async fn before(address: SocketAddr) -> Self {
        let front = Self::start().await;
        front.origin.set(address).unwrap();
        front
    }

    /// Number of TLS handshakes that succeeded.
    pub(crate) fn handshakes(&self) -> u64 {
        self.handshakes.load(Ordering::SeqCst)
    }

    /// Host and port, with this host's name.
    pub(crate) fn name(&self, host: &str) -> String {
        format!("{host}:{}", self.address.port())
    }

    pub(crate) async fn gateway_with(
        &self,
        host: &str,
        ca_file: Option<&Path>,
        change: impl FnOnce(&mut Setup),
    ) -> TestGateway {
        let gateway = TestGateway::start(|setup: &mut Setup| {
            setup.set(
                "upstream.endpoint",
                &format!("https://{host}:{}", self.address.port()),
            );
            setup.set("upstream.allow_http", "false");
            if let Some(path) = ca_file {
                setup.set("upstream.ca_file", path.to_str().unwrap());
            }
            change(setup);
        })
        .await;
        self.origin.set(gateway.emulator.address()).unwrap();
        gateway
    }

    /// Returns the error of a transport that cannot connect to this.
    pub(crate) async fn refusal(
        &self,
        host: &str,
        ca_file: Option<&Path>,
        proxy: Option<Proxy>,
    ) -> String {
        let settings = transport::TransportConfig {
            section: transport::Section::Upstream,
            ca_file: ca_file.map(|path| path.to_str().unwrap().to_owned()),
            proxy,
            unix: None,
            connect_timeout: DEADLINE,
            idle_timeout: DEADLINE,
            max_body: 1 << 20,
        };
        let client = transport::build(&settings).unwrap();
        let request = Request::get(format!("https://{}/", self.name(host)));
        let request = request.body(Full::default()).unwrap();
        client.oneshot(request).await.unwrap_err().to_string()
    }

    pub(crate) fn ca_file(&self) -> std::path::PathBuf {
        self.folder.path().join("ca.pem")
    }
}

async fn accept(
    listener: TcpListener,
    acceptor: TlsAcceptor,
    origin: Arc<OnceLock<SocketAddr>>,
    handshakes: Arc<AtomicU64>,
) {
    let mut connections = JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        let (acceptor, origin, handshakes) = (
            acceptor.clone(),
            Arc::clone(&origin),
            Arc::clone(&handshakes),
        );
        connections.spawn(async move {
            if let Ok(mut tls) = acceptor.accept(stream).await {
                handshakes.fetch_add(1, Ordering::SeqCst);
                let mut plain = TcpStream::connect(origin.get().unwrap()).await.unwrap();
                drop(copy_bidirectional(&mut tls, &mut plain).await);
            }
        });
    }
}

#[tokio::test]
async fn misses_share_one_connection_to_an_origin_behind_tls() {
    let front = Front::start().await;
    let gateway = front.gateway("localhost", Some(&front.ca_file())).await;
    for id in gateway.emulator.store().ids(5) {
        assert_eq!(gateway.image(&id).await.status, 200);
    }
    assert_eq!(
        (gateway.calls(), front.handshakes.load(Ordering::SeqCst)),
        (5, 1)
    );
    assert!(gateway.emulator.counts().rejected.is_empty());
}

#[tokio::test]
async fn an_origin_with_an_unknown_root_is_not_called() {
    let front = Front::start().await;
    let gateway = front.gateway("localhost", None).await;
    let answer = gateway.image(&gateway.emulator.store().ids(1)[0]).await;
    assert_eq!((answer.status.as_u16(), gateway.calls()), (503, 0));
    assert_eq!(answer.json()["Code"], "Gateway.UpstreamUnavailable");
    let message = front.refusal("localhost", None, None).await;
    let expected = format!("cannot connect to {}: ", front.name("localhost"));
    assert!(message.starts_with(&expected), "{message}");
    assert!(message.contains("upstream.ca_file"), "{message}");
}

#[tokio::test]
async fn an_origin_with_another_name_is_not_called() {
    let front = Front::start().await;
    let gateway = front.gateway("127.0.0.1", Some(&front.ca_file())).await;
    let answer = gateway.image(&gateway.emulator.store().ids(1)[0]).await;
    assert_eq!((answer.status.as_u16(), gateway.calls()), (503, 0));
    let authority = front.ca_file();
    let message = front.refusal("127.0.0.1", Some(&authority), None).await;
    assert!(
        message.contains("the certificate is of another host"),
        "{message}"
    );
}
