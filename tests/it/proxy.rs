//! An origin, and an STS, that are reachable only through a proxy: Debian's tinyproxy.

use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Instant;

use pai_image_gateway::transport::{Proxy, Section};
use tempfile::TempDir;
use tokio::net::TcpStream;

use crate::credentials::stand_in::{STS_ID, STS_SECRET, STS_TOKEN, StandIn};
use crate::https::Front;
use crate::support::{DEADLINE, Setup, TestGateway};

/// A running tinyproxy. Dropping it kills it.
struct Tinyproxy {
    child: Child,
    port: u16,
    folder: TempDir,
}

const USER: &str = "gateway";
const PASSWORD: &str = "proxy-password";

impl Tinyproxy {
    /// Starts one that requires user and password; `None` without the program, unless `CI=true`.
    #[expect(clippy::print_stderr, reason = "a test that is left out should say so")]
    async fn start() -> Option<Self> {
        let found = std::env::var_os("PATH").and_then(|path| {
            let mut programs = std::env::split_paths(&path).map(|folder| folder.join("tinyproxy"));
            programs.find(|program| program.is_file())
        });
        let Some(program) = found else {
            assert_ne!(std::env::var("CI").as_deref(), Ok("true"), "no tinyproxy");
            eprintln!("SKIP: tinyproxy is not installed");
            return None;
        };
        for _ in 0..5 {
            if let Some(proxy) = Self::launch(&program).await {
                return Some(proxy);
            }
        }
        panic!("no port for tinyproxy")
    }

    /// Returns `None` if another process has taken the port meanwhile.
    #[expect(
        clippy::zombie_processes,
        reason = "it is waited for when dropped; a panic ends the tests"
    )]
    async fn launch(program: &PathBuf) -> Option<Self> {
        let free = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = free.local_addr().unwrap().port();
        drop(free);
        let folder = tempfile::tempdir().unwrap();
        let (config, log) = (folder.path().join("conf"), folder.path().join("log"));
        let text = format!(
            "Port {port}\nListen 127.0.0.1\nAllow 127.0.0.1\nTimeout 60\nMaxClients 50\nLogLevel Connect\n\
             LogFile \"{}\"\nBasicAuth {USER} {PASSWORD}\n",
            log.display()
        );
        std::fs::write(&config, text).unwrap();
        let mut child = Command::new(program)
            .arg("-d")
            .arg("-c")
            .arg(&config)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let begun = Instant::now();
        while begun.elapsed() < DEADLINE {
            if child.try_wait().unwrap().is_some() {
                return None;
            }
            if TcpStream::connect(("127.0.0.1", port)).await.is_ok() {
                return Some(Self {
                    child,
                    port,
                    folder,
                });
            }
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
        panic!("tinyproxy does not answer")
    }

    fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// Writes a file with user and password, for `proxy_credentials_file`.
    fn credentials(&self, password: &str) -> String {
        let path = self.folder.path().join(password);
        std::fs::write(&path, format!("{USER}:{password}\n")).unwrap();
        path.to_str().unwrap().to_owned()
    }

    /// Returns the number of tunnels to this host and port, by tinyproxy's own log.
    fn tunnels(&self, to: &str) -> usize {
        let log = std::fs::File::open(self.folder.path().join("log")).unwrap();
        let lines = BufReader::new(log).lines().map(Result::unwrap);
        let asked = format!("CONNECT {to} HTTP/1.1");
        lines.filter(|line| line.contains(&asked)).count()
    }
}

impl Drop for Tinyproxy {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// A gateway whose origin is behind TLS and, if this is not changed, a proxy.
async fn gateway(front: &Front, proxy: &Tinyproxy, change: impl FnOnce(&mut Setup)) -> TestGateway {
    let (url, file) = (proxy.url(), proxy.credentials(PASSWORD));
    let authority = front.ca_file();
    front
        .gateway_with("localhost", Some(&authority), |setup| {
            setup.set("upstream.proxy", &url);
            setup.set("upstream.proxy_credentials_file", &file);
            change(setup);
        })
        .await
}

#[tokio::test]
async fn an_origin_behind_tls_is_called_through_the_proxy() {
    let Some(proxy) = Tinyproxy::start().await else {
        return;
    };
    let front = Front::start().await;
    let gateway = gateway(&front, &proxy, |_| {}).await;
    for id in gateway.emulator.store().ids(5) {
        assert_eq!(gateway.image(&id).await.status, 200);
    }
    assert!(gateway.emulator.counts().rejected.is_empty());
    // The tunnel is kept and used again.
    assert_eq!(proxy.tunnels(&front.name("localhost")), 1);
}

#[tokio::test]
async fn a_proxy_that_speaks_tls_is_used_and_its_certificate_checked() {
    let Some(proxy) = Tinyproxy::start().await else {
        return;
    };
    let outer = Front::before(([127, 0, 0, 1], proxy.port).into()).await;
    let front = Front::start().await;
    let url = format!("https://{}", outer.name("localhost"));
    let none = std::collections::BTreeMap::new();
    let way = Proxy::of_section(Section::Upstream, Some(&url), None, &none).unwrap();
    let refusal = front
        .refusal("localhost", Some(&front.ca_file()), way)
        .await;
    assert!(refusal.contains("upstream.ca_file"), "{refusal}");
    assert_eq!(outer.handshakes(), 0, "its certificate is not in the file");
    let bundle = proxy.folder.path().join("bundle.pem");
    let certificates = [front.ca_file(), outer.ca_file()].map(|path| std::fs::read(path).unwrap());
    std::fs::write(&bundle, certificates.concat()).unwrap();
    let gateway = gateway(&front, &proxy, |setup| {
        setup.set("upstream.proxy", &url);
        setup.set("upstream.ca_file", bundle.to_str().unwrap());
    })
    .await;
    let id = &gateway.emulator.store().ids(1)[0];
    assert_eq!(gateway.image(id).await.status, 200);
    assert_eq!((outer.handshakes(), front.handshakes()), (1, 1));
    assert_eq!(proxy.tunnels(&front.name("localhost")), 1);
}

#[tokio::test]
async fn a_plain_origin_is_called_through_a_tunnel_too() {
    let Some(proxy) = Tinyproxy::start().await else {
        return;
    };
    let file = proxy.credentials(PASSWORD);
    let gateway = TestGateway::start(|setup| {
        setup.set("upstream.proxy", &proxy.url());
        setup.set("upstream.proxy_credentials_file", &file);
    })
    .await;
    let id = &gateway.emulator.store().ids(1)[0];
    assert_eq!(gateway.image(id).await.status, 200);
    assert_eq!(proxy.tunnels(&gateway.emulator.address().to_string()), 1);
}

#[tokio::test]
async fn the_variables_name_the_proxy_where_the_setting_says_env() {
    let Some(proxy) = Tinyproxy::start().await else {
        return;
    };
    let (front, port) = (Front::start().await, proxy.port);
    let gateway = gateway(&front, &proxy, |setup| {
        setup.set("upstream.proxy", "env");
        setup
            .flags
            .retain(|flag| !flag.contains("proxy_credentials_file"));
        let url = format!("http://{USER}:{PASSWORD}@127.0.0.1:{port}");
        setup.environment.insert("https_proxy".to_owned(), url);
    })
    .await;
    let id = &gateway.emulator.store().ids(1)[0];
    assert_eq!(gateway.image(id).await.status, 200);
    assert_eq!(proxy.tunnels(&front.name("localhost")), 1);
    let shown = gateway.page("/status").await.to_string() + &gateway.exposition().await;
    assert!(!shown.contains(PASSWORD));
}

#[tokio::test]
async fn a_host_of_no_proxy_is_called_directly() {
    let Some(proxy) = Tinyproxy::start().await else {
        return;
    };
    let front = Front::start().await;
    let gateway = gateway(&front, &proxy, |setup| {
        let hosts = "example.com, localhost".to_owned();
        setup.environment.insert("NO_PROXY".to_owned(), hosts);
    })
    .await;
    let id = &gateway.emulator.store().ids(1)[0];
    assert_eq!(gateway.image(id).await.status, 200);
    assert_eq!(proxy.tunnels(&front.name("localhost")), 0);
}

#[tokio::test]
async fn a_proxy_that_wants_another_password_is_named_with_the_remedy() {
    let Some(proxy) = Tinyproxy::start().await else {
        return;
    };
    let (front, wrong) = (Front::start().await, proxy.credentials("wrong"));
    let gateway = gateway(&front, &proxy, |setup| {
        setup.set("upstream.proxy_credentials_file", &wrong);
    })
    .await;
    let id = &gateway.emulator.store().ids(1)[0];
    assert_eq!(gateway.image(id).await.status, 503);
    let none = std::collections::BTreeMap::new();
    let way = Proxy::of_section(Section::Upstream, Some(&proxy.url()), Some(&wrong), &none);
    let authority = front.ca_file();
    let message = front.refusal("localhost", Some(&authority), way.unwrap());
    let message = message.await;
    for part in [
        format!(
            "{} through the proxy 127.0.0.1:{}",
            front.name("localhost"),
            proxy.port
        ),
        "upstream.proxy_credentials_file".to_owned(),
    ] {
        assert!(message.contains(&part), "{message}");
    }
}

#[tokio::test]
async fn sts_is_called_through_the_credentials_own_proxy() {
    let Some(proxy) = Tinyproxy::start().await else {
        return;
    };
    let (sts, file) = (StandIn::sts().await, proxy.credentials(PASSWORD));
    let gateway = TestGateway::start(|setup| {
        setup.set("credentials.sts_endpoint", &sts.url());
        setup.set("credentials.assume_role_arn", "acs:ram::1:role/r");
        setup.set("credentials.proxy", &proxy.url());
        setup.set("credentials.proxy_credentials_file", &file);
        setup.origin.access_key_id = STS_ID.to_owned();
        setup.origin.access_key_secret = STS_SECRET.into();
        setup.origin.security_token = Some(STS_TOKEN.into());
    })
    .await;
    let id = &gateway.emulator.store().ids(1)[0];
    assert_eq!(gateway.image(id).await.status, 200);
    assert_eq!(proxy.tunnels(&sts.host()), 1);
}
