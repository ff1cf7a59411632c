//! A fake parent that answers by a rule, and records its requests.

use std::sync::Arc;
use std::time::Duration;

use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{HeaderMap, Request, Response};
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use super::family::{PLAIN, below};
use crate::support::{Setup, TestGateway};

/// Response of the fake parent: status, headers, body, and the delay before it.
#[derive(Clone)]
pub(super) struct Reply {
    pub(super) status: u16,
    pub(super) headers: Vec<(&'static str, String)>,
    pub(super) body: String,
    pub(super) after: Duration,
}

impl Reply {
    /// An image that last changed a thousand seconds before the origin's response; its ttl is 100 s.
    pub(super) fn image(age: u64, cache_status: &str) -> Self {
        let changed =
            jiff::Timestamp::now() - jiff::SignedDuration::from_secs(1004 + age.cast_signed());
        Self {
            status: 200,
            headers: vec![
                ("age", age.to_string()),
                ("cache-status", cache_status.to_owned()),
            ],
            body: format!(
                r#"{{"GmtModifiedTime":"{changed}","WorkspaceId":"15945","Accessibility":"PUBLIC"}}"#
            ),
            after: Duration::ZERO,
        }
    }

    pub(super) fn error(status: u16, code: &str) -> Self {
        Self {
            status,
            headers: Vec::new(),
            body: format!(
                r#"{{"RequestId":"6894B13B-6D71-4EF5-88FA-F32781734A7F","HostId":"h","Code":"{code}","Message":"m"}}"#
            ),
            after: Duration::ZERO,
        }
    }
}

type Rule = Arc<dyn Fn(&HeaderMap) -> Reply + Send + Sync>;

/// The server. Dropping it ends it.
pub(super) struct StandIn {
    address: String,
    heads: Arc<Mutex<Vec<HeaderMap>>>,
    accepting: JoinHandle<()>,
}

impl StandIn {
    pub(super) async fn start(rule: impl Fn(&HeaderMap) -> Reply + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let heads = Arc::new(Mutex::new(Vec::new()));
        let (rule, seen): (Rule, _) = (Arc::new(rule), Arc::clone(&heads));
        let accepting = tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let (rule, seen) = (Arc::clone(&rule), Arc::clone(&seen));
                let service = service_fn(move |request: Request<Incoming>| {
                    let reply = rule(request.headers());
                    seen.lock().push(request.headers().clone());
                    respond(reply)
                });
                let connection =
                    http1::Builder::new().serve_connection(TokioIo::new(stream), service);
                tokio::spawn(async move { drop(connection.await) });
            }
        });
        Self {
            address,
            heads,
            accepting,
        }
    }

    /// A child of it.
    pub(super) async fn child(&self, change: impl FnOnce(&mut Setup)) -> TestGateway {
        TestGateway::start(|setup| {
            below(setup, &self.address, PLAIN);
            change(setup);
        })
        .await
    }

    /// Returns the number of requests.
    pub(super) fn calls(&self) -> usize {
        self.heads.lock().len()
    }

    /// Returns a header of the latest request, empty without it.
    pub(super) fn last(&self, name: &str) -> String {
        let heads = self.heads.lock();
        let value = heads.last().and_then(|head| head.get(name));
        value.map_or("", |value| value.to_str().unwrap()).to_owned()
    }
}

impl Drop for StandIn {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

async fn respond(reply: Reply) -> Result<Response<Full<Bytes>>, hyper::Error> {
    tokio::time::sleep(reply.after).await;
    let mut response = Response::builder().status(reply.status);
    for (name, value) in reply.headers {
        response = response.header(name, value);
    }
    Ok(response.body(Full::from(reply.body)).unwrap())
}
