//! Rows of the table: bytes to send, and the expected responses.

use std::time::Duration;

use pai_image_gateway::emulator::Store;

use crate::support::path;

/// Bytes to send, and the expected responses.
pub(super) struct Row {
    pub(super) name: &'static str,
    /// The bytes, with a [`PAUSE`] between two pieces.
    pub(super) pieces: Vec<Vec<u8>>,
    /// True if the client sends its FIN after them; otherwise it waits for the gateway's.
    pub(super) hangs_up: bool,
    /// Status and Code of each response; no Code if hyper answers before there is a request.
    pub(super) answers: &'static [(u16, &'static str)],
}

/// Between two pieces: half of the shortest limit of a hasty gateway.
pub(super) const PAUSE: Duration = Duration::from_millis(100);

const BAD: &[(u16, &str)] = &[(400, "InvalidParameter")];
const BARE: &[(u16, &str)] = &[(400, "")];
const NO_ROUTE: &[(u16, &str)] = &[(404, "InvalidApi.NotFound")];
const FOUND: &[(u16, &str)] = &[(200, "")];
const CLOSED: &[(u16, &str)] = &[];
const SLOW_BODY: &[(u16, &str)] = &[(408, "InvalidParameter")];
const TOO_LONG: &[(u16, &str)] = &[(413, "InvalidParameter")];
const NO_METHOD: &[(u16, &str)] = &[(405, "UnsupportedHTTPMethod")];

fn row(name: &'static str, bytes: &str, answers: &'static [(u16, &'static str)]) -> Row {
    Row {
        name,
        pieces: vec![bytes.as_bytes().to_vec()],
        hangs_up: true,
        answers,
    }
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

/// A Resolve with this body.
fn resolve(
    name: &'static str,
    query: &str,
    body: &str,
    answers: &'static [(u16, &'static str)],
) -> Row {
    let length = body.len();
    row(
        name,
        &format!(
            "POST {RESOLVE}{query} HTTP/1.1\r\nHost: g\r\nContent-Length: {length}\r\n\r\n{body}"
        ),
        answers,
    )
}

const RESOLVE: &str = "/gateway/v1/resolve";
const ONE: &str = r#"{"ImageIds":["a"]}"#;

pub(super) fn hosts_and_headers() -> Vec<Row> {
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

pub(super) fn targets() -> Vec<Row> {
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
        target("a Resolve by GET", RESOLVE, NO_METHOD),
        target("a slash behind Resolve", "/gateway/v1/resolve/", NO_ROUTE),
    ]
}

pub(super) fn bodies() -> Vec<Row> {
    // By RFC 9112 §6.1 such a body is read by its chunks and the connection closed: what follows is
    // never taken for a request.
    let image = path(&Store::id(1));
    let second = format!("GET {} HTTP/1.1\r\nHost: g\r\n\r\n", path(&Store::id(2)));
    let smuggled = format!(
        "GET {image} HTTP/1.1\r\nHost: g\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n{second}"
    );
    let twice = |encodings: &str| {
        format!(
            "POST {RESOLVE} HTTP/1.1\r\nHost: g\r\nTransfer-Encoding: {encodings}\r\n\r\n12\r\n{ONE}\r\n0\r\n\r\n{second}"
        )
    };
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
        row(
            "chunked twice, and another request",
            &twice("chunked\r\nTransfer-Encoding: chunked"),
            BAD,
        ),
        row(
            "a list of two chunked, and another request",
            &twice("chunked, chunked"),
            BAD,
        ),
        row(
            "gzip and chunked, and another request",
            &twice("gzip, chunked"),
            BAD,
        ),
        row(
            "chunked behind an empty encoding, and another request",
            &twice("\r\nTransfer-Encoding: chunked"),
            BAD,
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
        resolve("a Resolve of nothing", "", "", BAD),
        resolve("a Resolve with a parameter", "?Verbose=true", ONE, BAD),
        resolve("a Resolve of a list", "", r#"["a"]"#, BAD),
        resolve("a Resolve of a list's values", "", r#"[["a"],false]"#, BAD),
        resolve(
            "a Resolve of another field",
            "",
            r#"{"ImageIds":["a"],"x":1}"#,
            BAD,
        ),
        resolve(
            "a Resolve of a field twice",
            "",
            r#"{"ImageIds":["a"],"ImageIds":["b"]}"#,
            BAD,
        ),
        resolve(
            "a Resolve of an id that is none",
            "",
            r#"{"ImageIds":["a","b/c"]}"#,
            BAD,
        ),
        resolve("a Resolve and more", "", r#"{"ImageIds":["a"]}{}"#, BAD),
    ]
}

/// A row whose client keeps the connection open, and sends in pieces.
fn patient(
    name: &'static str,
    pieces: impl IntoIterator<Item = impl AsRef<[u8]>>,
    answers: &'static [(u16, &'static str)],
) -> Row {
    Row {
        name,
        pieces: pieces
            .into_iter()
            .map(|piece| piece.as_ref().to_vec())
            .collect(),
        hangs_up: false,
        answers,
    }
}

/// Rows of slow clients, with limits of 200 ms for heads, 300 ms for bodies, and 500 ms between requests.
pub(super) fn slow() -> Vec<Row> {
    let found = format!("GET {} HTTP/1.1\r\nHost: g\r\n\r\n", path(&Store::id(1)));
    let nowhere = "GET /nowhere HTTP/1.1\r\nHost: g\r\n\r\n";
    let write = "POST /api/v1/images HTTP/1.1\r\nHost: g\r\n";
    let cached = format!(r#"{{"ImageIds":["{}"]}}"#, Store::id(1));
    let dripping = |head: &str| -> Vec<String> {
        let drops = std::iter::repeat_n("a".to_owned(), 10);
        std::iter::once(head.to_owned()).chain(drops).collect()
    };
    vec![
        patient("nothing at all", [""; 0], CLOSED),
        patient("a head that stops", [&found[..30]], CLOSED),
        patient("a head that drips", dripping("GET /api/v1/images/"), CLOSED),
        patient(
            "a body that stops",
            [format!("{write}Content-Length: 9\r\n\r\n{{}}")],
            SLOW_BODY,
        ),
        patient(
            "a body that drips",
            dripping(&format!("{write}Content-Length: 99\r\n\r\n")),
            SLOW_BODY,
        ),
        patient("a request and silence", [&found], FOUND),
        row("a request and a FIN", &found, FOUND),
        patient(
            "three requests at once",
            [format!("{found}{nowhere}{found}")],
            &[(200, ""), (404, "InvalidApi.NotFound"), (200, "")],
        ),
        patient(
            "a request and half of another",
            [found.clone() + &found[..30]],
            FOUND,
        ),
        patient(
            "a Resolve and half of another request",
            [format!(
                "POST {RESOLVE} HTTP/1.1\r\nHost: g\r\nContent-Length: {}\r\n\r\n{cached}{}",
                cached.len(),
                &found[..30]
            )],
            FOUND,
        ),
        patient("a TLS hello", [b"\x16\x03\x01\x02\x00\x01"], CLOSED),
        patient(
            "a body longer than api.max_body",
            [format!("{write}Content-Length: 2000\r\n\r\n")],
            TOO_LONG,
        ),
        patient(
            "chunks longer than api.max_body",
            [format!(
                "{write}Transfer-Encoding: chunked\r\n\r\n7d0\r\n{}\r\n",
                "x".repeat(2000)
            )],
            TOO_LONG,
        ),
    ]
}

/// Rows of clients that connect while every connection is in use.
pub(super) fn flood() -> Vec<Row> {
    let request = format!("GET {} HTTP/1.1\r\nHost: g\r\n\r\n", path(&Store::id(1)));
    const TOO_MANY: &[(u16, &str)] = &[(503, "Gateway.Overloaded")];
    vec![
        patient(
            "a connection beyond listen.max_connections",
            [""; 0],
            TOO_MANY,
        ),
        patient("the same, that has asked already", [request], TOO_MANY),
    ]
}
