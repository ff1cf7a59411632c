//! Connections to a gateway: by hyper, and byte by byte.

use std::collections::BTreeMap;

use bytes::Bytes;
use http::{HeaderMap, Method, Request, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use pai_image_gateway::server::Address;
use serde_json::Value;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpStream, UnixStream};
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_util::either::Either;

use super::DEADLINE;

/// A complete response.
#[derive(Debug, Clone)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
    /// The request's Host.
    host: String,
}

impl Answer {
    /// Returns a header's text, empty without the header. Panics on two.
    pub(crate) fn header(&self, name: &str) -> &str {
        let values: Vec<_> = self.headers.get_all(name).iter().collect();
        assert!(values.len() < 2, "{name}: {values:?}");
        values.first().map_or("", |value| value.to_str().unwrap())
    }

    pub(crate) fn cache_status(&self) -> &str {
        self.header("cache-status")
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8(self.body.to_vec()).unwrap()
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// Returns status and Code of an error; panics if it has another shape than the API's.
    pub(crate) fn error(&self) -> (u16, String) {
        assert_eq!(self.header("content-type"), "application/json", "{self:?}");
        let body = self.json();
        let mut fields: Vec<_> = body.as_object().unwrap().keys().collect();
        fields.sort();
        assert_eq!(fields, ["Code", "HostId", "Message", "RequestId"]);
        let text = |name: &str| body[name].as_str().unwrap().to_owned();
        assert_eq!(text("HostId"), self.host);
        assert_eq!(text("RequestId").len(), 36, "{self:?}");
        assert!(!text("Message").is_empty(), "{self:?}");
        (self.status.as_u16(), text("Code"))
    }

    /// Returns the Code of an error; empty for other responses.
    pub(crate) fn error_code(&self) -> String {
        self.json()["Code"].as_str().unwrap_or("").to_owned()
    }

    /// A 200's body.
    pub(crate) fn found(&self) -> Value {
        assert_eq!(self.status, StatusCode::OK, "{self:?}");
        self.json()
    }

    /// Returns everything except random ids, the time, and the request's Host: the
    /// status, the headers by name, and the body.
    pub(crate) fn shape(&self) -> (u16, BTreeMap<String, String>, String) {
        let id = self.json()["RequestId"].as_str().unwrap().to_owned();
        let bare = |text: &str| text.replace(&id, "ID").replace(&self.host, "HOST");
        let headers = self.headers.iter().filter(|(name, _)| *name != "date");
        let headers =
            headers.map(|(name, value)| (name.to_string(), bare(value.to_str().unwrap())));
        (self.status.as_u16(), headers.collect(), bare(&self.text()))
    }

    /// Returns everything that a client can read, headers and body, as one text.
    pub(crate) fn everything(&self) -> String {
        format!(
            "{:?}\n{}",
            self.headers,
            String::from_utf8_lossy(&self.body)
        )
    }
}

/// A keep-alive connection.
pub(crate) struct Connection {
    sender: SendRequest<Full<Bytes>>,
    driver: JoinHandle<()>,
    host: String,
}

impl Connection {
    pub(crate) async fn open(address: &Address) -> Self {
        let stream = timeout(DEADLINE, stream(address)).await.unwrap().unwrap();
        let (sender, connection) = http1::handshake(TokioIo::new(stream)).await.unwrap();
        let driver = tokio::spawn(async move { drop(connection.await) });
        let host = match address {
            Address::Tcp(address) => address.to_string(),
            Address::Unix(..) => "localhost".to_owned(),
        };
        Self {
            sender,
            driver,
            host,
        }
    }

    pub(crate) async fn get(&mut self, target: &str) -> Answer {
        self.send(Method::GET, target, &[], "").await
    }

    pub(crate) async fn send(
        &mut self,
        method: Method,
        target: &str,
        headers: &[(&str, &str)],
        body: &str,
    ) -> Answer {
        self.try_send(method, target, headers, body).await.unwrap()
    }

    /// Sends a request; an error if the connection breaks before a complete response.
    pub(crate) async fn try_send(
        &mut self,
        method: Method,
        target: &str,
        headers: &[(&str, &str)],
        body: &str,
    ) -> hyper::Result<Answer> {
        let mut request = Request::builder().method(method).uri(target);
        if headers.iter().all(|(name, _)| *name != "host") {
            request = request.header("host", &self.host);
        }
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(Full::new(Bytes::copy_from_slice(body.as_bytes())));
        let exchange = async {
            let response = self.sender.send_request(request.unwrap()).await?;
            let (head, body) = response.into_parts();
            Ok(Answer {
                status: head.status,
                headers: head.headers,
                body: body.collect().await?.to_bytes(),
                host: self.host.clone(),
            })
        };
        timeout(DEADLINE, exchange).await.unwrap()
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

async fn stream(address: &Address) -> std::io::Result<Either<TcpStream, UnixStream>> {
    Ok(match address {
        Address::Tcp(address) => Either::Left(TcpStream::connect(address).await?),
        Address::Unix(path, _) => Either::Right(UnixStream::connect(path).await?),
    })
}

/// Writes bytes and reads until the other side closes by itself.
pub(crate) async fn raw(address: &Address, bytes: &[u8]) -> Vec<u8> {
    let mut stream = timeout(DEADLINE, stream(address)).await.unwrap().unwrap();
    // A client that is rejected early may find the socket closed before everything is written.
    drop(timeout(DEADLINE, stream.write_all(bytes)).await.unwrap());
    read_all(&mut stream).await
}

/// The same, but closes the sending side after the bytes.
pub(crate) async fn raw_and_hang_up(address: &Address, bytes: &[u8]) -> Vec<u8> {
    let mut stream = timeout(DEADLINE, stream(address)).await.unwrap().unwrap();
    drop(timeout(DEADLINE, stream.write_all(bytes)).await.unwrap());
    drop(stream.shutdown().await);
    read_all(&mut stream).await
}

/// Reads until the end, by a close or a reset.
async fn read_all(stream: &mut (impl AsyncRead + AsyncWrite + Unpin)) -> Vec<u8> {
    let mut received = Vec::new();
    drop(
        timeout(DEADLINE, stream.read_to_end(&mut received))
            .await
            .unwrap(),
    );
    received
}
