//! A gateway behind TLS, certificates for both ends, and clients of both protocols.

use std::fs;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use http::{Method, Request, Response, header};
use http_body_util::{BodyExt, Empty};
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use pai_image_gateway::server::Address;
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, SanType};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::version::{TLS12, TLS13};
use rustls::{ClientConfig, RootCertStore, ServerConfig, SupportedProtocolVersion};
use tempfile::TempDir;
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::{DEADLINE, Setup, TestGateway};

pub(crate) const VERSIONS: [&SupportedProtocolVersion; 2] = [&TLS12, &TLS13];

/// A certificate authority.
pub(crate) struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pub(crate) pem: String,
}

/// A certificate and its key, in PEM form.
pub(crate) struct Issued {
    pub(crate) certificate: String,
    pub(crate) key: String,
}

impl Authority {
    pub(crate) fn new() -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        // OpenSSL takes a certificate for its own issuer where both are called alike.
        let name = &mut params.distinguished_name;
        name.push(DnType::CommonName, "authority of tests");
        let key = KeyPair::generate().unwrap();
        let pem = params.self_signed(&key).unwrap().pem();
        Self {
            issuer: Issuer::new(params, key),
            pem,
        }
    }

    /// Issues a certificate for DNS names, and for URIs (with a colon).
    pub(crate) fn issue(&self, names: &[&str]) -> Issued {
        self.issue_with(CertificateParams::default(), names)
    }

    /// Issues a certificate for `localhost`, valid until the first of January of a year.
    pub(crate) fn issue_until(&self, year: i32) -> Issued {
        let mut params = CertificateParams::default();
        params.not_after = rcgen::date_time_ymd(year, 1, 1);
        self.issue_with(params, &["localhost"])
    }

    fn issue_with(&self, mut params: CertificateParams, names: &[&str]) -> Issued {
        let san = |name: &&str| match name.contains(':') {
            true => SanType::URI((*name).try_into().unwrap()),
            false => SanType::DnsName((*name).try_into().unwrap()),
        };
        params.subject_alt_names = names.iter().map(san).collect();
        let key = KeyPair::generate().unwrap();
        Issued {
            certificate: params.signed_by(&key, &self.issuer).unwrap().pem(),
            key: key.serialize_pem(),
        }
    }

    fn roots(&self) -> RootCertStore {
        let mut roots = RootCertStore::empty();
        roots.add(leaf(&self.pem)).unwrap();
        roots
    }
}

impl Issued {
    /// Returns a TLS server with this certificate.
    pub(crate) fn server(&self) -> Arc<ServerConfig> {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let key = PrivateKeyDer::from_pem_slice(self.key.as_bytes()).unwrap();
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![leaf(&self.certificate)], key);
        Arc::new(config.unwrap())
    }

    /// Writes both files into a new folder.
    pub(crate) fn write(&self, folder: &Path) {
        fs::create_dir_all(folder).unwrap();
        fs::write(folder.join("tls.crt"), &self.certificate).unwrap();
        fs::write(folder.join("tls.key"), &self.key).unwrap();
    }
}

pub(crate) fn leaf(pem: &str) -> CertificateDer<'static> {
    CertificateDer::from_pem_slice(pem.as_bytes()).unwrap()
}

/// Options of a client's handshake.
pub(crate) struct Hello<'a> {
    pub(crate) versions: &'a [&'static SupportedProtocolVersion],
    pub(crate) alpn: &'a str,
    pub(crate) identity: Option<&'a Issued>,
}

pub(crate) const H1: Hello<'_> = Hello {
    versions: &VERSIONS,
    alpn: "http/1.1",
    identity: None,
};
pub(crate) const H2: Hello<'_> = Hello { alpn: "h2", ..H1 };

/// Connects with TLS to `localhost`, trusting this authority.
pub(crate) async fn hello(
    address: SocketAddr,
    authority: &Authority,
    hello: &Hello<'_>,
) -> io::Result<TlsStream<TcpStream>> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(hello.versions)
        .unwrap()
        .with_root_certificates(authority.roots());
    let mut config = match hello.identity {
        None => builder.with_no_client_auth(),
        Some(Issued { certificate, key }) => builder
            .with_client_auth_cert(
                vec![leaf(certificate)],
                PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap(),
            )
            .unwrap(),
    };
    if !hello.alpn.is_empty() {
        config.alpn_protocols = vec![hello.alpn.as_bytes().to_vec()];
    }
    let stream = TcpStream::connect(address).await?;
    let name = ServerName::try_from("localhost").unwrap();
    let shaking = TlsConnector::from(Arc::new(config)).connect(name, stream);
    timeout(DEADLINE, shaking).await.unwrap()
}

/// A connection over either protocol, with the task that drives it.
pub(crate) struct Client {
    sender: Sender,
    pub(crate) driver: JoinHandle<()>,
}

#[derive(Clone)]
enum Sender {
    H1(Arc<tokio::sync::Mutex<http1::SendRequest<Empty<Bytes>>>>),
    H2(http2::SendRequest<Empty<Bytes>>),
}

impl Client {
    /// Starts the protocol that ALPN selected.
    pub(crate) async fn over(stream: TlsStream<TcpStream>) -> Self {
        let is_h2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
        let io = TokioIo::new(stream);
        if is_h2 {
            let shaken = http2::handshake(TokioExecutor::new(), io).await;
            let (sender, connection) = shaken.unwrap();
            Self {
                sender: Sender::H2(sender),
                driver: tokio::spawn(async move { drop(connection.await) }),
            }
        } else {
            let (sender, connection) = http1::handshake(io).await.unwrap();
            Self {
                sender: Sender::H1(Arc::new(sender.into())),
                driver: tokio::spawn(async move { drop(connection.await) }),
            }
        }
    }

    /// Sends a GET; several may be in flight.
    pub(crate) fn get(
        &self,
        target: &str,
    ) -> impl Future<Output = hyper::Result<Response<Bytes>>> + Send + use<> {
        self.get_with(target, &[])
    }

    pub(crate) fn get_with(
        &self,
        target: &str,
        headers: &[(&str, &str)],
    ) -> impl Future<Output = hyper::Result<Response<Bytes>>> + Send + use<> {
        self.send(Method::GET, target, headers)
    }

    /// A request without a body.
    pub(crate) fn send(
        &self,
        method: Method,
        target: &str,
        headers: &[(&str, &str)],
    ) -> impl Future<Output = hyper::Result<Response<Bytes>>> + Send + use<> {
        let request = Request::builder().method(method);
        let mut request = match self.sender {
            Sender::H1(_) => request.uri(target).header(header::HOST, "localhost"),
            Sender::H2(_) => request.uri(format!("https://localhost{target}")),
        };
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(Empty::new()).unwrap();
        let sender = self.sender.clone();
        let exchange = async move {
            let response = match sender {
                Sender::H1(sender) => sender.lock().await.send_request(request).await?,
                Sender::H2(mut sender) => sender.send_request(request).await?,
            };
            let (head, body) = response.into_parts();
            let body = body.collect().await?.to_bytes();
            Ok(Response::from_parts(head, body))
        };
        async { timeout(DEADLINE, exchange).await.unwrap() }
    }

    /// Waits until the other side has closed.
    pub(crate) async fn closed(self) {
        timeout(DEADLINE, self.driver).await.unwrap().unwrap();
    }
}

/// A gateway with TLS on the data port. Its files are below a symbolic link, as in a mounted Secret.
pub(crate) struct TlsGateway {
    pub(crate) gateway: TestGateway,
    pub(crate) authority: Authority,
    folder: TempDir,
}

impl TlsGateway {
    pub(crate) async fn usual() -> Self {
        Self::start(|_| {}).await
    }

    pub(crate) async fn with(key: &str, value: &str) -> Self {
        Self::start(|setup| setup.set(key, value)).await
    }

    /// Starts with a client CA too: its own authority.
    pub(crate) async fn start(change: impl FnOnce(&mut Setup)) -> Self {
        let (authority, folder) = (Authority::new(), tempfile::tempdir().unwrap());
        authority
            .issue(&["localhost"])
            .write(&folder.path().join("1"));
        std::os::unix::fs::symlink("1", folder.path().join("data")).unwrap();
        fs::write(folder.path().join("ca.crt"), &authority.pem).unwrap();
        let gateway = TestGateway::start(|setup| {
            for (key, file) in [
                ("listen.tls.cert_file", "data/tls.crt"),
                ("listen.tls.key_file", "data/tls.key"),
                ("listen.tls.client_ca_file", "ca.crt"),
            ] {
                setup.set(key, folder.path().join(file).to_str().unwrap());
            }
            setup.set("reload.interval", "20ms");
            change(setup);
        })
        .await;
        Self {
            gateway,
            authority,
            folder,
        }
    }

    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(crate) fn address(&self) -> SocketAddr {
        let Address::Tcp(address) = self.gateway.app.data else {
            panic!("a TCP port")
        };
        address
    }

    pub(crate) async fn hello(&self, client: &Hello<'_>) -> io::Result<TlsStream<TcpStream>> {
        hello(self.address(), &self.authority, client).await
    }

    pub(crate) async fn connect(&self, client: &Hello<'_>) -> Client {
        Client::over(self.hello(client).await.unwrap()).await
    }

    /// Returns the certificate of a new connection.
    pub(crate) async fn shown(&self) -> CertificateDer<'static> {
        let stream = self.hello(&H1).await.unwrap();
        let (_, session) = stream.get_ref();
        session.peer_certificates().unwrap()[0].clone().into_owned()
    }

    pub(crate) async fn handshakes(&self, result: &str) -> f64 {
        let labels = [("result", result)];
        self.gateway
            .metric("pai_gateway_tls_handshakes_total", &labels)
            .await
    }

    pub(crate) async fn reloads(&self, result: &str) -> f64 {
        let labels = [("part", "tls"), ("result", result)];
        self.gateway
            .metric("pai_gateway_reloads_total", &labels)
            .await
    }
}
