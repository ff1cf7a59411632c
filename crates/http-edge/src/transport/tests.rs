//! A client before a scripted server on a real socket.

use std::io::Write as _;

use flate2::Compression;
use flate2::write::GzEncoder;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tower::ServiceExt;

use super::*;

/// One scripted connection: an answer for each request, after the last of which it closes.
type Script = Vec<Vec<u8>>;

/// Starts a server whose n-th connection follows the n-th script; the last script goes on being followed.
async fn server(scripts: Vec<Script>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        for number in 0.. {
            let (mut stream, _) = listener.accept().await.unwrap();
            let script = scripts[number.min(scripts.len() - 1)].clone();
            tokio::spawn(async move {
                for answer in script {
                    let mut head = Vec::new();
                    while !head.ends_with(b"\r\n\r\n") {
                        match stream.read_u8().await {
                            Ok(byte) => head.push(byte),
                            Err(_) => return,
                        }
                    }
                    if stream.write_all(&answer).await.is_err() {
                        return;
                    }
                }
            });
        }
    });
    address
}

fn client(max_body: u64) -> Transport {
    build(&TransportConfig {
        section: Section::Upstream,
        ca_file: None,
        proxy: None,
        unix: None,
        connect_timeout: Duration::from_secs(10),
        idle_timeout: Duration::from_secs(20),
        max_body,
    })
    .unwrap()
}

fn get(address: &str) -> Request<Full<Bytes>> {
    Request::get(format!("{address}/"))
        .body(Full::default())
        .unwrap()
}

async fn ask(client: &Transport, request: Request<Full<Bytes>>) -> Result<Reply, TransportError> {
    let asked = client.clone().oneshot(request);
    tokio::time::timeout(Duration::from_secs(30), asked)
        .await
        .unwrap()
}

const BODY: &[u8] = br#"{"ImageId":"image-1","Name":"n"}"#;

fn answer(headers: &str, body: &[u8]) -> Vec<u8> {
    let head = format!("HTTP/1.1 200 OK\r\n{headers}\r\n");
    [head.as_bytes(), body].concat()
}

fn with_length(headers: &str, body: &[u8]) -> Vec<u8> {
    answer(
        &format!("{headers}Content-Length: {}\r\n", body.len()),
        body,
    )
}

/// What comes of one answer. The connection stays open after it.
async fn reading(answer: Vec<u8>) -> Result<Reply, TransportError> {
    let address = server(vec![vec![answer, Vec::new()]]).await;
    ask(&client(1 << 20), get(&address)).await
}

fn gzip(body: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(body).unwrap();
    encoder.finish().unwrap()
}

#[tokio::test]
async fn an_answer_is_read_whatever_its_header_lines_look_like() {
    for headers in [
        "Date : Mon, 23 Nov 2026 12:00:00 GMT\r\n",
        "X-Folded: one\r\n\ttwo\r\n   three\r\n",
        "Not a header\r\n",
        "X Y: z\r\n",
        "X-Control: a\x01b\r\n",
        "\u{e9}: x\r\n",
        "Transfer-Encoding: identity\r\n",
        "transfer-encoding:  Identity , \r\n",
        "Content-Length : 32\r\n",
    ] {
        let reply = reading(with_length(headers, BODY)).await;
        assert_eq!(reply.unwrap().body, BODY, "{headers}");
    }
    let folded = reading(with_length("X-Folded: one\r\n\ttwo\r\n", BODY)).await;
    assert_eq!(folded.unwrap().header("x-folded"), "one two");
}

#[tokio::test]
async fn hundreds_of_headers_are_taken_and_thousands_are_not() {
    let many = |count| (0..count).fold(String::new(), |all, n| all + &format!("X-{n}: {n}\r\n"));
    for count in [99, 130, 990] {
        let reply = reading(with_length(&many(count), BODY)).await;
        assert_eq!(reply.unwrap().body, BODY, "{count}");
    }
    for count in [1001, 5000] {
        let refused = reading(with_length(&many(count), BODY)).await;
        assert!(matches!(refused, Err(TransportError::Connection(_))));
    }
}

/// A server of its own thread: the client may have the runtime's only worker for itself.
fn endless(piece: &'static [u8]) -> String {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        while stream.write_all(piece).is_ok() {}
    });
    address
}

#[tokio::test]
async fn a_few_interim_answers_are_passed_over_and_endless_ones_end_the_connection() {
    let early = b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n";
    let few = [early.repeat(3), with_length("", BODY)].concat();
    assert_eq!(reading(few).await.unwrap().body, BODY);
    for piece in [&early[..], b"\r\n\r\nHTTP/1.1 100 Continue\r\n\r\n"] {
        let refused = ask(&client(1 << 20), get(&endless(piece))).await;
        let Err(TransportError::Connection(why)) = refused else {
            panic!("{refused:?}")
        };
        assert!(why.contains("interim responses (1xx)"), "{why}");
    }
}

#[tokio::test]
async fn lengths_that_differ_are_an_error_and_end_the_connection() {
    for headers in [
        "Content-Length: 5\r\n",
        "Content-Length : 5\r\n",
        "Content-Length:\r\n 5\r\n",
        "Content-Length\x0b: 5\r\n",
        "Content-Length: 5\x01\r\n",
        "Transfer-Encoding\x0b: chunked\r\n",
        "Content-Length: 5, 6\r\n",
        "Transfer-Encoding: identity\r\nContent-Length: 5\r\n",
        "Transfer-Encoding: identity\r\nContent-Length: +32\r\n",
    ] {
        let bad = vec![with_length(headers, BODY), with_length("", b"{}")];
        let address = server(vec![bad, vec![with_length("", BODY)]]).await;
        let client = client(1 << 20);
        let refused = ask(&client, get(&address)).await;
        assert!(
            matches!(refused, Err(TransportError::Connection(_))),
            "{headers}"
        );
        let next = ask(&client, get(&address)).await.unwrap();
        assert_eq!(next.body, BODY, "{headers}");
    }
}

#[tokio::test]
async fn a_length_beside_identity_is_exact() {
    let headers = "Transfer-Encoding: identity\r\n";
    let cut = answer(
        &format!("{headers}Content-Length: 99\r\nConnection: close\r\n"),
        BODY,
    );
    let address = server(vec![vec![cut]]).await;
    let refused = ask(&client(1 << 20), get(&address)).await;
    assert!(matches!(refused, Err(TransportError::Connection(_))));
    let long = answer(&format!("{headers}Content-Length: 99\r\n"), &[b' '; 99]);
    let address = server(vec![vec![long]]).await;
    let refused = ask(&client(98), get(&address)).await;
    assert!(matches!(refused, Err(TransportError::TooLong)));
}

#[tokio::test]
async fn a_coding_that_is_none_is_none_and_gzip_is_undone() {
    let zipped = gzip(BODY);
    for (coding, body) in [
        ("UTF-8", BODY),
        ("none", BODY),
        ("", BODY),
        ("identity, Identity", BODY),
        ("gzip", BODY),
        ("br, x, y, z", BODY),
        ("gzip, identity", &zipped),
        ("identity, GZIP", &zipped),
        ("x-gzip", &zipped),
        ("gzip\r\nContent-Encoding: identity", &zipped),
        ("gzip, gzip", &gzip(&zipped)),
    ] {
        let headers = format!("Content-Encoding: {coding}\r\n");
        let reply = reading(with_length(&headers, body)).await.unwrap();
        assert_eq!(reply.body, BODY, "{coding}");
        assert_eq!(reply.header("content-encoding"), "", "{coding}");
    }
    for (coding, body) in [
        ("br", &zipped[..]),
        ("gzip", b"<html>"),
        ("deflate", b"\x78\x9c"),
    ] {
        let headers = format!("Content-Encoding: {coding}\r\n");
        let refused = reading(with_length(&headers, body)).await;
        assert!(matches!(refused, Err(TransportError::Encoding)), "{coding}");
    }
}

#[tokio::test]
async fn an_error_whose_body_cannot_be_decoded_keeps_its_status() {
    let mut answer = with_length("Content-Encoding: br\r\n", b"\x0b\x02");
    answer.splice(9..12, *b"403");
    let reply = reading(answer).await.unwrap();
    assert_eq!((reply.status, reply.body), (403, Bytes::new()));
}

/// A connection that is closed without notice once its first answer is out.
fn dying() -> Script {
    vec![with_length("", BODY), Vec::new()]
}

#[tokio::test]
async fn a_pooled_connection_that_ends_without_a_byte_is_distinguished_from_one_that_breaks() {
    let address = server(vec![dying()]).await;
    let client = client(1 << 20);
    ask(&client, get(&address)).await.unwrap();
    // The script ends after the second request's head, without an answer.
    let stale = ask(&client, get(&address)).await;
    assert!(matches!(stale, Err(TransportError::Stale(_))), "{stale:?}");

    let half = vec![
        with_length("", BODY),
        b"HTTP/1.1 200 OK\r\nContent-".to_vec(),
    ];
    let address = server(vec![half]).await;
    ask(&client, get(&address)).await.unwrap();
    let broken = ask(&client, get(&address)).await;
    assert!(matches!(broken, Err(TransportError::Connection(_))));

    let address = server(vec![vec![Vec::new()]]).await;
    let fresh = ask(&client, get(&address)).await;
    assert!(matches!(fresh, Err(TransportError::Connection(_))));
}

#[tokio::test]
async fn a_new_connection_meets_none_that_died_and_is_not_kept() {
    let address = server(vec![dying(), vec![with_length("", b"{}"), Vec::new()]]).await;
    let client = client(1 << 20);
    ask(&client, get(&address)).await.unwrap();
    for _ in 0..2 {
        let mut request = get(&address);
        request.extensions_mut().insert(NewConnection);
        assert_eq!(ask(&client, request).await.unwrap().body, "{}");
    }
}

#[tokio::test]
async fn a_408_on_an_idle_connection_is_no_response() {
    let mut word = with_length("Connection: close\r\n", b"");
    word.splice(9..12, *b"408");
    let address = server(vec![vec![with_length("", BODY), word.clone()], vec![word]]).await;
    let client = client(1 << 20);
    ask(&client, get(&address)).await.unwrap();
    let stale = ask(&client, get(&address)).await;
    assert!(matches!(stale, Err(TransportError::Stale(_))), "{stale:?}");
    assert_eq!(ask(&client, get(&address)).await.unwrap().status, 408);
}

#[tokio::test]
async fn a_discarded_connection_carries_no_other_request() {
    let keeping = |body: &[u8]| vec![with_length("", body); 3];
    let address = server(vec![keeping(b"{\"n\":1}"), keeping(b"{\"n\":2}")]).await;
    let client = client(1 << 20);
    for expected in ["{\"n\":1}", "{\"n\":1}"] {
        assert_eq!(ask(&client, get(&address)).await.unwrap().body, expected);
    }
    let last = ask(&client, get(&address)).await.unwrap();
    last.connection.discard();
    assert_eq!(ask(&client, get(&address)).await.unwrap().body, "{\"n\":2}");
    Connection::default().discard();
}

#[tokio::test]
async fn a_host_that_cannot_be_reached_is_named_with_a_remedy() {
    let gone = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = gone.local_addr().unwrap();
    drop(gone);
    let refused = ask(&client(1), get(&format!("http://{address}"))).await;
    let message = refused.unwrap_err().to_string();
    let expected = format!("cannot connect to {address}: ");
    assert!(message.starts_with(&expected), "{message}");
    assert!(message.contains("Connection refused"), "{message}");
    assert!(
        message.ends_with("set upstream.proxy where a proxy is the only way out"),
        "{message}"
    );

    let unknown = ask(&client(1), get("http://no-such-host.invalid:81")).await;
    let message = unknown.unwrap_err().to_string();
    assert!(
        message.starts_with("cannot connect to no-such-host.invalid:81: dns error"),
        "{message}"
    );
    assert!(
        message.contains("DNS") && message.contains("upstream.proxy"),
        "{message}"
    );

    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let speaks_http = format!("https://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        stream
            .write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n")
            .await
            .unwrap();
        stream.read_u8().await.unwrap();
    });
    let message = ask(&client(1), get(&speaks_http))
        .await
        .unwrap_err()
        .to_string();
    assert!(message.contains("upstream.allow_http"), "{message}");
}
