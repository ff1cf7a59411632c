//! Heads and bodies that no well-behaved client sends, byte by byte: each has its answer, and none
//! reaches the origin, stalls the gateway or is taken for two requests.
//!
//! `cargo test --test it wire -- --nocapture` prints the table.

use std::fmt::Write as _;

use pai_image_gateway::emulator::Store;

use crate::support::{TestGateway, path, raw_and_hang_up};

/// What was sent, and the status and Code of each answer; no Code where hyper answers before there is
/// a request.
type Row = (&'static str, Vec<u8>, &'static [(u16, &'static str)]);

const BAD: &[(u16, &str)] = &[(400, "InvalidParameter")];
const BARE: &[(u16, &str)] = &[(400, "")];
const NO_ROUTE: &[(u16, &str)] = &[(404, "InvalidApi.NotFound")];
const FOUND: &[(u16, &str)] = &[(200, "")];
const CLOSED: &[(u16, &str)] = &[];
const NO_METHOD: &[(u16, &str)] = &[(405, "UnsupportedHTTPMethod")];

fn row(name: &'static str, bytes: &str, answers: &'static [(u16, &'static str)]) -> Row {
    (name, bytes.as_bytes().to_vec(), answers)
}

/// A GetImage with one more line in its head.
fn with(name: &'static str, line: &str, answers: &'static [(u16, &'static str)]) -> Row {
    let image = path(&Store::id(1));
    row(
        name,
        &format!("GET {image} HTTP/1.1\r\nHost: g\r\n{line}\r\n\r\n"),
        answers,
    )
}

/// A GetImage of another target.
fn target(name: &'static str, target: &str, answers: &'static [(u16, &'static str)]) -> Row {
    row(
        name,
        &format!("GET {target} HTTP/1.1\r\nHost: g\r\n\r\n"),
        answers,
    )
}

/// A write with a body framed so.
fn body(name: &'static str, framing: &str, answers: &'static [(u16, &'static str)]) -> Row {
    row(
        name,
        &format!("POST /api/v1/images HTTP/1.1\r\nHost: g\r\n{framing}"),
        answers,
    )
}

fn hosts_and_headers() -> Vec<Row> {
    let image = path(&Store::id(1));
    let many = "A: b\r\n".repeat(101);
    let flood = "A: b\r\n".repeat(100_000);
    vec![
        row(
            "no Host in HTTP/1.1",
            &format!("GET {image} HTTP/1.1\r\n\r\n"),
            BAD,
        ),
        row(
            "no Host in HTTP/1.0",
            &format!("GET {image} HTTP/1.0\r\n\r\n"),
            FOUND,
        ),
        with("two Hosts", "Host: h", BAD),
        with("an empty second Host", "Host:", BAD),
        with(
            "hop-by-hop headers",
            "Connection: x-acs-action, keep-alive\r\nTE: trailers\r\nUpgrade: h2c\r\nProxy-Authorization: x",
            FOUND,
        ),
        with(
            "headers with underscores",
            "x_acs_action: RemoveImage\r\nx_acs_date: 0",
            FOUND,
        ),
        with("a folded header", "X-A: b\r\n c", BARE),
        with("a space before the colon", "X-A : b", BARE),
        with("a space before a name", " X-A: b", BARE),
        with("NUL in a value", "X-A: b\0c", BARE),
        with("8-bit in a name", "X-\u{e9}: b", BARE),
        with("8-bit in a value", "X-A: \u{e9}", FOUND),
        with("a bare CR in a value", "X-A: b\rc", BARE),
        with("101 headers", many.trim_end(), &[(431, "")]),
        with("100,000 headers", flood.trim_end(), &[(431, "")]),
    ]
}

fn targets() -> Vec<Row> {
    let image = path(&Store::id(1));
    vec![
        target(
            "absolute form",
            &format!("http://other.example{image}"),
            FOUND,
        ),
        row(
            "authority form",
            "CONNECT g:80 HTTP/1.1\r\nHost: g\r\n\r\n",
            NO_ROUTE,
        ),
        row(
            "asterisk form",
            "OPTIONS * HTTP/1.1\r\nHost: g\r\n\r\n",
            NO_ROUTE,
        ),
        target("an escaped slash", &path("a%2Fb"), BAD),
        target("dots", "/api/v1/images/../images/a", NO_ROUTE),
        target("escaped dots", &path("%2e%2e"), BAD),
        target("two slashes", "//api/v1/images/a", NO_ROUTE),
        target("an escaped NUL", &path("a%00"), BAD),
        target("a semicolon in the id", &path("a;b"), BAD),
        target(
            "a semicolon between parameters",
            &format!("{image}?Verbose=true;x=1"),
            BAD,
        ),
        target(
            "a parameter twice",
            &format!("{image}?Verbose=true&Verbose=true"),
            BAD,
        ),
        target("an unknown parameter", &format!("{image}?x=1"), BAD),
        target("8-bit in the path", &path("\u{e9}"), BAD),
        target("a space in the target", "/api/v1/images/a b", BARE),
        row(
            "a method in lower case",
            &format!("get {image} HTTP/1.1\r\nHost: g\r\n\r\n"),
            NO_METHOD,
        ),
        row(
            "HTTP/2 on the plain port",
            "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
            CLOSED,
        ),
        row(
            "HTTP/3.0",
            &format!("GET {image} HTTP/3.0\r\nHost: g\r\n\r\n"),
            BARE,
        ),
    ]
}

fn bodies() -> Vec<Row> {
    // By RFC 9112 §6.1 such a body is read by its chunks and the connection closed: what follows is
    // never taken for a request.
    let image = path(&Store::id(1));
    let second = format!("GET {} HTTP/1.1\r\nHost: g\r\n\r\n", path(&Store::id(2)));
    let smuggled = format!(
        "GET {image} HTTP/1.1\r\nHost: g\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n{second}"
    );
    vec![
        row("a length and chunks, and another request", &smuggled, BAD),
        body(
            "two lengths",
            "Content-Length: 2\r\nContent-Length: 3\r\n\r\n{}x",
            BARE,
        ),
        body("a list of lengths", "Content-Length: 2,3\r\n\r\n{}x", BARE),
        body("a length with a sign", "Content-Length: +2\r\n\r\n{}", BARE),
        body("a negative length", "Content-Length: -2\r\n\r\n{}", BARE),
        body(
            "a length in hexadecimal",
            "Content-Length: 0x2\r\n\r\n{}",
            BARE,
        ),
        body(
            "an unknown encoding",
            "Transfer-Encoding: gzip\r\n\r\n{}",
            BARE,
        ),
        body(
            "chunked, but not last",
            "Transfer-Encoding: chunked, gzip\r\n\r\n0\r\n\r\n",
            BARE,
        ),
        body(
            "nearly chunked",
            "Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
            BARE,
        ),
        body(
            "a chunk of no size",
            "Transfer-Encoding: chunked\r\n\r\nzz\r\n{}\r\n0\r\n\r\n",
            BAD,
        ),
        body(
            "a chunk longer than numbers go",
            "Transfer-Encoding: chunked\r\n\r\nfffffffffffffffff\r\n{}",
            BAD,
        ),
        body("a body that breaks off", "Content-Length: 9\r\n\r\n{}", BAD),
        with("a GET with a body", "Content-Length: 2\r\n\r\n{}", BAD),
    ]
}

/// Each answer's status and Code.
fn answers(received: &str) -> Vec<(u16, String)> {
    let each = received.split("HTTP/1.").skip(1);
    let read = |answer: &str| {
        let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((answer, ""));
        let code = serde_json::from_str::<serde_json::Value>(body.trim())
            .map(|body| body["Code"].as_str().unwrap_or("").to_owned());
        (head[2..5].parse().unwrap(), code.unwrap_or_default())
    };
    each.map(read).collect()
}

#[tokio::test]
async fn each_malformed_request_has_its_answer() {
    let gateway = TestGateway::start(|setup| {
        setup.set("api.writes", "true");
        setup.set("listen.head_timeout", "1s");
    })
    .await;
    let good = gateway.image(&Store::id(1)).await;
    assert_eq!(good.status, 200);
    let mut table = String::from("| sent | answered |\n|---|---|\n");
    let mut wrong = Vec::new();
    for (name, bytes, expected) in hosts_and_headers()
        .into_iter()
        .chain(targets())
        .chain(bodies())
    {
        let received = raw_and_hang_up(&gateway.app.data, &bytes).await;
        let got = answers(&String::from_utf8_lossy(&received));
        let told: Vec<String> = got
            .iter()
            .map(|(status, code)| format!("{status} {code}").trim().to_owned())
            .collect();
        let told = if told.is_empty() {
            "closed".to_owned()
        } else {
            told.join(", ")
        };
        writeln!(table, "| {name} | {told} |").unwrap();
        if !got
            .iter()
            .map(|(status, code)| (*status, code.as_str()))
            .eq(expected.iter().copied())
        {
            wrong.push(format!("{name}: {got:?} instead of {expected:?}"));
        }
    }
    println!("{table}");
    assert_eq!(wrong, [""; 0]);
    let passed_on = gateway.emulator.counts().operations;
    let good = std::collections::BTreeMap::from([("GetImage".to_owned(), 1)]);
    assert!(passed_on.iter().eq(good.iter()), "{passed_on:?}");
    assert_eq!(gateway.metric("pai_gateway_panics_total", &[]).await, 0.0);
    assert_eq!(gateway.image(&Store::id(1)).await.status, 200);
}
