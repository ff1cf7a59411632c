//! Test harness of this crate: an emulator and a client that signs its requests.

use bytes::Bytes;
use http::{HeaderMap, Method, Request};
use http_body_util::{BodyExt, Full};
use hyper_util::client::legacy::{Client, connect::HttpConnector};
use hyper_util::rt::TokioExecutor;
use jiff::Timestamp;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::{Emulator, Settings};
use aliyun_auth::{self as signing, Credentials, UnsignedRequest};
use pai_api::{Action, VERSION};

pub(super) struct Harness {
    pub(super) emulator: Emulator,
    pub(super) client: Client<HttpConnector, Full<Bytes>>,
    pub(super) credentials: Credentials,
}

#[derive(Debug)]
pub(super) struct HarnessReply {
    pub(super) status: u16,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
}

/// Returns a GetImage request without labels; its host is filled in when it is signed.
pub(super) fn get_image(image: &str) -> UnsignedRequest {
    UnsignedRequest {
        method: Method::GET,
        host: String::new(),
        path: format!("/api/v1/images/{image}"),
        query: String::new(),
        action: Action::GetImage.as_str(),
        version: VERSION,
        body: Bytes::new(),
    }
}

impl Harness {
    pub(super) async fn start(settings: Settings) -> Self {
        let credentials = Credentials {
            access_key_id: settings.access_key_id.clone(),
            access_key_secret: settings.access_key_secret.clone(),
            security_token: settings.security_token.clone(),
        };
        Self {
            emulator: Emulator::start(settings).await.unwrap(),
            client: Client::builder(TokioExecutor::new()).build_http(),
            credentials,
        }
    }

    pub(super) fn draft(
        &self,
        method: Method,
        path: &str,
        query: &str,
        action: Action,
    ) -> UnsignedRequest {
        UnsignedRequest {
            method,
            host: self.emulator.address().to_string(),
            path: path.to_owned(),
            query: query.to_owned(),
            action: action.as_str(),
            version: VERSION,
            body: Bytes::new(),
        }
    }

    pub(super) fn signed(&self, draft: &UnsignedRequest) -> Request<Full<Bytes>> {
        let nonce = format!("{:032x}", fastrand::u128(..));
        self.signed_at(draft, &self.credentials, Timestamp::now(), &nonce)
    }

    pub(super) fn signed_at(
        &self,
        draft: &UnsignedRequest,
        credentials: &Credentials,
        date: Timestamp,
        nonce: &str,
    ) -> Request<Full<Bytes>> {
        let host = self.emulator.address().to_string();
        let draft = UnsignedRequest {
            host: host.clone(),
            ..draft.clone()
        };
        let joint = if draft.query.is_empty() { "" } else { "?" };
        let uri = format!("http://{host}{}{joint}{}", draft.path, draft.query);
        let mut request = Request::builder().method(draft.method.clone()).uri(uri);
        for (name, value) in signing::sign(&draft, credentials, date, nonce) {
            request = request.header(name, value);
        }
        request.body(draft.body.into()).unwrap()
    }

    pub(super) async fn fetch(&self, image: &str) -> HarnessReply {
        self.send(self.signed(&get_image(image))).await
    }

    pub(super) async fn ask(
        &self,
        method: Method,
        target: &str,
        action: Action,
        body: &str,
    ) -> HarnessReply {
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let draft = UnsignedRequest {
            body: Bytes::copy_from_slice(body.as_bytes()),
            ..self.draft(method, path, query, action)
        };
        self.send(self.signed(&draft)).await
    }

    pub(super) async fn send_as(
        &self,
        draft: &UnsignedRequest,
        credentials: &Credentials,
    ) -> HarnessReply {
        let nonce = format!("{:032x}", fastrand::u128(..));
        let request = self.signed_at(draft, credentials, Timestamp::now(), &nonce);
        self.send(request).await
    }

    pub(super) async fn control(&self, method: Method, route: &str, body: &str) -> HarnessReply {
        let uri = format!("http://{}/emulator/{route}", self.emulator.address());
        let body = Full::from(body.to_owned());
        let request = Request::builder().method(method).uri(uri).body(body);
        self.send(request.unwrap()).await
    }

    pub(super) async fn send(&self, request: Request<Full<Bytes>>) -> HarnessReply {
        let (head, body) = self.client.request(request).await.unwrap().into_parts();
        HarnessReply {
            status: head.status.as_u16(),
            headers: head.headers,
            body: body.collect().await.unwrap().to_bytes(),
        }
    }

    /// Sends a request without a body and reads until the connection ends, however it ends.
    pub(super) async fn send_raw(&self, request: Request<Full<Bytes>>) -> Vec<u8> {
        let (head, _) = request.into_parts();
        let mut text = format!("{} {} HTTP/1.1\r\n", head.method, head.uri.path());
        for (name, value) in &head.headers {
            text.extend([name.as_str(), ": ", value.to_str().unwrap(), "\r\n"]);
        }
        text.push_str("\r\n");
        let mut stream = TcpStream::connect(self.emulator.address()).await.unwrap();
        stream.write_all(text.as_bytes()).await.unwrap();
        let mut read = Vec::new();
        while let Ok(1..) = stream.read_buf(&mut read).await {}
        read
    }
}

impl HarnessReply {
    pub(super) fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap()
    }

    /// Returns the error's Code; empty for a response that is no error.
    pub(super) fn code(&self) -> String {
        let body = self.json();
        body["Code"].as_str().unwrap_or("").to_owned()
    }

    pub(super) fn header(&self, name: &str) -> &str {
        self.headers[name].to_str().unwrap()
    }
}
