//! Connections to the origin that end while they idle.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::Arc;

use http::Method;
use parking_lot::Mutex;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::support::{TestGateway, path};

/// An origin that answers one request per connection and closes it, without notice, on the second.
struct ClosingOrigin {
    address: SocketAddr,
    seen: Arc<Mutex<Vec<String>>>,
}

impl ClosingOrigin {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let seen = Arc::new(Mutex::new(Vec::new()));
        let heads = Arc::clone(&seen);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream, Arc::clone(&heads)));
            }
        });
        Self { address, seen }
    }

    async fn gateway(&self) -> TestGateway {
        TestGateway::start(|setup| {
            setup.set("upstream.endpoint", &format!("http://{}", self.address));
            setup.set("api.writes", "true");
        })
        .await
    }

    fn nonces(&self) -> Vec<String> {
        let seen = self.seen.lock();
        let nonce = |head: &String| {
            let lines = head.lines();
            let mut values = lines.filter_map(|line| line.strip_prefix("x-acs-signature-nonce: "));
            values.next().unwrap().to_owned()
        };
        seen.iter().map(nonce).collect()
    }
}

async fn serve(mut stream: TcpStream, heads: Arc<Mutex<Vec<String>>>) {
    for is_last in [false, true] {
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            match stream.read_u8().await {
                Ok(byte) => head.push(char::from(byte)),
                Err(_) => return,
            }
        }
        let target = head.split(' ').nth(1).unwrap().to_owned();
        heads.lock().push(head);
        if is_last {
            return;
        }
        let image = target.split(['/', '?']).nth(4).unwrap();
        let body = format!(r#"{{"ImageId":"{image}","Name":"n","RequestId":"r"}}"#);
        let length = body.len();
        let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n{body}");
        stream.write_all(answer.as_bytes()).await.unwrap();
    }
}

#[tokio::test]
async fn a_read_on_a_closed_connection_is_signed_again_and_sent_on_a_new_one() {
    let origin = ClosingOrigin::start().await;
    let gateway = origin.gateway().await;
    for number in 0..40 {
        // One after the other: each finds the connection of the one before in the pool.
        let answer = gateway.image(&format!("image-{number}")).await;
        assert_eq!(answer.status, 200, "{number}");
    }
    let nonces = origin.nonces();
    let distinct: BTreeSet<_> = nonces.iter().collect();
    assert_eq!(distinct.len(), nonces.len());
    let metric = async |name, labels| gateway.metric(name, labels).await;
    let resends = metric("pai_gateway_upstream_resends_total", &[]).await;
    assert!(resends > 0.0);
    assert_eq!(nonces.len() as f64, 40.0 + resends);
    assert_eq!(metric("pai_gateway_upstream_retries_total", &[]).await, 0.0);
    let broken = [("result", "transport")];
    assert_eq!(
        metric("pai_gateway_upstream_requests_total", &broken).await,
        0.0
    );
}

#[tokio::test]
async fn a_write_takes_a_new_connection_and_is_sent_once() {
    let origin = ClosingOrigin::start().await;
    let gateway = origin.gateway().await;
    for number in 0..10 {
        assert_eq!(gateway.image(&format!("image-{number}")).await.status, 200);
        let (before, target) = (origin.seen.lock().len(), path("image-1") + "/labels");
        let json = [("content-type", "application/json")];
        let body = r#"{"Labels":[{"Key":"k","Value":"v"}]}"#;
        let answer = gateway.request(Method::POST, &target, &json, body).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        assert_eq!(origin.seen.lock().len(), before + 1);
    }
}
