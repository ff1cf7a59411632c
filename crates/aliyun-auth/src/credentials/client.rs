//! HTTP client for STS, the metadata service, CloudSSO and credentials URIs.
//!
//! It follows no redirect and reads at most 64 KiB of a response. Requests leave the machine through the proxy
//! that the settings name; loopback and the metadata service's link are always reached directly. Each kind of
//! address has a client of its own, built at its first use: a gateway with a static key builds none.

use std::net::IpAddr;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bytes::Bytes;
use http::uri::Scheme;
use http::{HeaderValue, Method, Request, Uri, header};
use http_body_util::Full;
use tower::ServiceExt;

use super::{Config, SourceError};
use crate::clock::Clock;
use host::environment::Environment;
use http_edge::transport::{self, BuildError, Proxy, Reply, Transport, TransportError};

/// Network scope of an address; it decides the timeouts and whether the proxy is used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum AddressScope {
    /// Metadata service, on this machine's own link: answers at once or never.
    Link,
    /// Loopback address: an agent on this machine.
    Machine,
    /// Any other address; behind the proxy, where one is set.
    Network,
}

/// Permission to send or receive credentials over `http://`, which shows them to the network.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum InsecureHttp {
    /// Only on this machine: the default.
    Loopback,
    /// To any address: `credentials.allow_http`.
    Anywhere,
}

/// One HTTP request, before its address has been checked.
pub(super) struct HttpCall {
    /// Name of the server in errors.
    pub(super) who: &'static str,
    pub(super) scope: AddressScope,
    pub(super) method: Method,
    /// Address with path and query; `https` where it has no scheme.
    pub(super) url: String,
    pub(super) headers: Vec<(&'static str, String)>,
    pub(super) body: String,
}

impl HttpCall {
    pub(super) fn get(who: &'static str, scope: AddressScope, url: String) -> Self {
        Self {
            who,
            scope,
            method: Method::GET,
            url,
            headers: Vec::new(),
            body: String::new(),
        }
    }
}

/// Client that sends each call once. A signed request must not be resent: its nonce is used up.
pub(super) struct HttpClient {
    clock: Arc<Clock>,
    plain: InsecureHttp,
    config: Config,
    environment: Environment,
    link: OnceLock<Result<Transport, Arc<BuildError>>>,
    machine: OnceLock<Result<Transport, Arc<BuildError>>>,
    network: OnceLock<Result<Transport, Arc<BuildError>>>,
}

impl HttpClient {
    pub(super) fn new(config: &Config, environment: &Environment, clock: Arc<Clock>) -> Self {
        Self {
            clock,
            plain: config.plain(),
            config: config.clone(),
            environment: environment.clone(),
            link: OnceLock::new(),
            machine: OnceLock::new(),
            network: OnceLock::new(),
        }
    }

    /// Returns the clock that dates requests and judges expirations; responses of STS correct it.
    pub(super) fn clock(&self) -> &Clock {
        &self.clock
    }

    /// Sends one request and reads the whole response.
    ///
    /// # Errors
    /// [`SourceError`] when the address may not be used or no whole response came in time. A response of any
    /// status is a success here.
    pub(super) async fn send(&self, call: HttpCall) -> Result<Reply, SourceError> {
        let (who, scope) = (call.who, call.scope);
        let plain = match scope {
            AddressScope::Link => InsecureHttp::Anywhere,
            AddressScope::Machine | AddressScope::Network => self.plain,
        };
        let url = address(&call.url, plain)
            .map_err(|BadAddress(problem)| SourceError::Address { who, problem })?;
        let transport = self.transport(scope)?;
        let answer = transport.oneshot(request(call, url)?);
        match tokio::time::timeout(scope.timeout(), answer).await {
            Err(_) => Err(SourceError::Timeout { who }),
            Ok(Err(TransportError::TooLong)) => Err(SourceError::Answer {
                who,
                problem: "it is far too long",
            }),
            Ok(Err(cause)) => Err(SourceError::Unanswered { who, cause }),
            Ok(Ok(reply)) => Ok(reply),
        }
    }

    fn transport(&self, scope: AddressScope) -> Result<Transport, SourceError> {
        let lane = match scope {
            AddressScope::Link => &self.link,
            AddressScope::Machine => &self.machine,
            AddressScope::Network => &self.network,
        };
        let made = lane.get_or_init(|| self.connect(scope).map_err(Arc::new));
        made.clone().map_err(SourceError::Client)
    }

    fn connect(&self, scope: AddressScope) -> Result<Transport, BuildError> {
        let (config, section) = (&self.config, transport::Section::Credentials);
        let proxy = match scope {
            AddressScope::Link | AddressScope::Machine => None,
            AddressScope::Network => Proxy::of_section(
                section,
                config.proxy.as_deref(),
                config.proxy_credentials_file.as_deref(),
                &self.environment,
            )?,
        };
        transport::build(&transport::TransportConfig {
            section,
            ca_file: config.ca_file.clone(),
            proxy,
            unix: None,
            connect_timeout: scope.connect_timeout(),
            // Calls come in a burst, then none for an hour, and a signed one must not be sent again on a new
            // connection: an idle connection that the server has closed would only fail.
            idle_timeout: Duration::ZERO,
            max_body: 64 << 10,
        })
    }
}

impl AddressScope {
    /// Returns the time for a connection, as in the vendor's SDKs.
    const fn connect_timeout(self) -> Duration {
        match self {
            Self::Link => Duration::from_secs(1),
            Self::Machine | Self::Network => Duration::from_secs(5),
        }
    }

    /// Returns the time for connection and response together: the vendor's SDKs add 1 s and 10 s.
    const fn timeout(self) -> Duration {
        match self {
            Self::Link => Duration::from_secs(2),
            Self::Machine | Self::Network => Duration::from_secs(15),
        }
    }
}

fn request(call: HttpCall, url: Uri) -> Result<Request<Full<Bytes>>, SourceError> {
    let who = call.who;
    let mut request = Request::builder()
        .method(call.method)
        .uri(url)
        .header(header::ACCEPT_ENCODING, "identity")
        .header(
            header::USER_AGENT,
            concat!("pai-image-gateway/", env!("CARGO_PKG_VERSION")),
        );
    for (name, value) in call.headers {
        let mut value = HeaderValue::try_from(value).map_err(|_| SourceError::Answer {
            who,
            problem: "it cannot stand in a header",
        })?;
        value.set_sensitive(true);
        request = request.header(name, value);
    }
    request
        .body(Full::new(call.body.into()))
        .map_err(|_| SourceError::Address {
            who,
            problem: ADDRESS_FORM,
        })
}

/// Refusal of an address, with what to write instead.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BadAddress(pub &'static str);

const ADDRESS_FORM: &str = "write https:// and a host";

/// Parses an address to fetch a credential from; without a scheme it is `https`.
///
/// # Errors
/// [`BadAddress`] for another scheme, a missing host, a user name in it, or `http` beyond what `plain` permits.
pub fn address(text: &str, plain: InsecureHttp) -> Result<Uri, BadAddress> {
    let text = text.trim();
    let text = if text.contains("://") {
        text.to_owned()
    } else {
        format!("https://{text}")
    };
    let uri: Uri = text.parse().map_err(|_| BadAddress(ADDRESS_FORM))?;
    let known = uri.scheme() == Some(&Scheme::HTTPS) || uri.scheme() == Some(&Scheme::HTTP);
    let authority = uri.authority().ok_or(BadAddress(ADDRESS_FORM))?;
    if !known || authority.host().is_empty() || authority.as_str().contains('@') {
        return Err(BadAddress(ADDRESS_FORM));
    }
    let clear = uri.scheme() == Some(&Scheme::HTTP);
    if clear && plain == InsecureHttp::Loopback && !is_loopback(authority.host()) {
        return Err(BadAddress(
            "http:// shows the credential to the network: write https://, or set credentials.allow_http = true",
        ));
    }
    Ok(uri)
}

/// Returns the scope of an address by its host: only a loopback address or `localhost` is this machine.
pub(super) fn scope(url: &str) -> AddressScope {
    let authority = address(url, InsecureHttp::Anywhere).ok();
    let host = authority.as_ref().and_then(Uri::host);
    if host.is_some_and(is_loopback) {
        AddressScope::Machine
    } else {
        AddressScope::Network
    }
}

fn is_loopback(host: &str) -> bool {
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    host.eq_ignore_ascii_case("localhost")
        || bare.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn http_stays_on_this_machine_unless_allowed() {
        for local in [
            "http://127.0.0.1:1/x?y=z",
            "http://[::1]",
            "http://LOCALHOST:80",
        ] {
            assert!(address(local, InsecureHttp::Loopback).is_ok(), "{local}");
        }
        for remote in [
            "http://10.0.0.1",
            "http://localhost.example.com",
            "http://sts",
        ] {
            assert!(address(remote, InsecureHttp::Loopback).is_err(), "{remote}");
            assert!(address(remote, InsecureHttp::Anywhere).is_ok(), "{remote}");
        }
    }

    #[test]
    fn an_agent_on_this_machine_is_never_behind_the_proxy() {
        for (url, expected) in [
            ("http://127.0.0.1:7777/credentials", AddressScope::Machine),
            ("http://localhost", AddressScope::Machine),
            ("http://[::1]:1", AddressScope::Machine),
            ("https://agent.example", AddressScope::Network),
            ("localhost.example", AddressScope::Network),
        ] {
            assert_eq!(scope(url), expected, "{url}");
        }
    }

    #[test]
    fn a_bare_host_is_https_and_nonsense_is_refused() {
        let bare = address("sts.cn-hangzhou.aliyuncs.com", InsecureHttp::Loopback).unwrap();
        assert_eq!(bare.scheme(), Some(&Scheme::HTTPS));
        for nonsense in [
            "",
            "ftp://x",
            "https://",
            "https://u@h",
            "h h",
            "file:///etc",
        ] {
            assert!(
                address(nonsense, InsecureHttp::Anywhere).is_err(),
                "{nonsense}"
            );
        }
    }
}
