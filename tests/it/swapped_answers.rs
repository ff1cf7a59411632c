//! Upstream responses about another image than the requested one.

use std::net::SocketAddr;

use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};

use pai_image_gateway::emulator::Store;

use crate::support::TestGateway;

/// Chooses the image of a response, by the requested id and the numbers of the connection and of the request on it.
type Named = fn(&str, usize, usize) -> String;

/// An origin whose responses name a chosen image.
async fn origin(named: Named) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        for connection in 1.. {
            let (stream, _) = listener.accept().await.unwrap();
            tokio::spawn(serve(stream, connection, named));
        }
    });
    address
}

async fn serve(stream: TcpStream, connection: usize, named: Named) {
    let mut stream = BufReader::new(stream);
    for request in 1.. {
        let mut head = Vec::new();
        loop {
            let mut line = String::new();
            if stream.read_line(&mut line).await.unwrap_or(0) == 0 {
                return;
            }
            if line == "\r\n" {
                break;
            }
            head.push(line);
        }
        let asked = head[0].split(['/', '?', ' ']).nth(5).unwrap();
        let body = format!(
            r#"{{"ImageId":"{}","ImageUri":"u"}}"#,
            named(asked, connection, request)
        );
        let answer = format!(
            "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        );
        if stream.write_all(answer.as_bytes()).await.is_err() {
            return;
        }
    }
}

/// The status and the ImageId of the answers for two images, one after the other.
async fn answers(named: Named) -> [(u16, String); 2] {
    let address = origin(named).await;
    let gateway = TestGateway::start(|setup| {
        setup.set("upstream.endpoint", &format!("http://{address}"));
        setup.set("upstream.breaker_failures", "1000");
    })
    .await;
    let mut answers = Vec::new();
    for id in ["image-a", "image-b"] {
        let answer = gateway.image(id).await;
        let named = answer.json()["ImageId"].as_str().unwrap_or("").to_owned();
        answers.push((answer.status.into(), named));
    }
    gateway.stop().await;
    answers.try_into().unwrap()
}

#[tokio::test]
async fn an_answer_to_another_request_is_retried_on_a_new_connection() {
    let swapped: Named = |asked, _, request| match request {
        1 => asked.to_owned(),
        _ => "image-of-somebody-else".to_owned(),
    };
    assert_eq!(
        answers(swapped).await,
        [(200, "image-a".to_owned()), (200, "image-b".to_owned())]
    );
}

#[tokio::test]
async fn an_origin_that_names_the_same_other_image_twice_means_it() {
    let alias: Named = |_, _, _| "image-1".to_owned();
    assert_eq!(
        answers(alias).await,
        [(200, "image-1".to_owned()), (200, "image-1".to_owned())]
    );
}

#[tokio::test]
async fn answers_that_match_no_request_are_not_passed_on() {
    let astray: Named = |_, connection, request| format!("image-{connection}-{request}");
    let unreadable = (502, String::new());
    assert_eq!(answers(astray).await, [unreadable.clone(), unreadable]);
}

/// A cached image is not replaced by a response that repeatedly names another.
#[tokio::test]
async fn a_cached_image_stays_whichever_other_image_the_origin_names() {
    let gateway = TestGateway::usual().await;
    let id = Store::id(1);
    gateway.image(&id).await.found();
    gateway.soften(&id).await;
    let other = r#"{"ImageId":"image-other","ImageUri":"u"}"#;
    gateway.emulator.store().put_raw(&id, other);
    let answer = gateway.image(&id).await;
    assert_eq!(answer.found()["ImageId"], id.as_str());
    assert!(
        answer
            .header("cache-status")
            .ends_with("; detail=origin-error")
    );
}
