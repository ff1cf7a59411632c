//! Heads and bodies that no well-behaved client sends, byte by byte: each has its answer, and none
//! reaches the origin, stalls the gateway or is taken for two requests.
//!
//! `cargo test --test it wire -- --nocapture` prints the table.

mod rows;

use std::fmt::Write as _;

use futures_util::future::join_all;
use pai_image_gateway::emulator::Store;
use pai_image_gateway::server::Address;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use crate::listener::rest;
use crate::support::{Setup, TestGateway};
use rows::{PAUSE, Row};

/// Returns each response's status and Code.
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

/// Sends a row over a connection of its own and returns the responses.
async fn send(address: &Address, row: &Row) -> Vec<(u16, String)> {
    let Address::Tcp(address) = address else {
        panic!("a TCP port")
    };
    let mut stream = TcpStream::connect(address).await.unwrap();
    for (at, piece) in row.pieces.iter().enumerate() {
        if at > 0 {
            tokio::time::sleep(PAUSE).await;
        }
        // A client that is rejected early finds the connection closed before everything is sent.
        if stream.write_all(piece).await.is_err() {
            break;
        }
    }
    if row.hangs_up {
        drop(stream.shutdown().await);
    }
    answers(&rest(&mut stream).await)
}

/// Returns the rows of the table; panics on a wrong one.
async fn table(gateway: &TestGateway, rows: Vec<Row>) -> String {
    let got = join_all(rows.iter().map(|row| send(&gateway.app.data, row))).await;
    let (mut table, mut wrong) = (String::new(), Vec::new());
    for (row, got) in rows.iter().zip(got) {
        let summary: Vec<String> = got
            .iter()
            .map(|(status, code)| format!("{status} {code}").trim().to_owned())
            .collect();
        let summary = match summary.is_empty() {
            true => "closed".to_owned(),
            false => summary.join(", "),
        };
        writeln!(table, "| {} | {summary} |", row.name).unwrap();
        let same = got
            .iter()
            .map(|(status, code)| (*status, code.as_str()))
            .eq(row.answers.iter().copied());
        if !same {
            wrong.push(format!(
                "{}: {got:?} instead of {:?}",
                row.name, row.answers
            ));
        }
    }
    assert_eq!(wrong, [""; 0]);
    table
}

/// A gateway with one cached image; by the end the origin must have received no other request.
async fn gateway(change: impl FnOnce(&mut Setup)) -> TestGateway {
    let gateway = TestGateway::start(|setup| {
        setup.set("api.writes", "true");
        change(setup);
    })
    .await;
    assert_eq!(gateway.image(&Store::id(1)).await.status, 200);
    gateway
}

#[tokio::test]
async fn each_malformed_request_has_its_answer() {
    let usual = gateway(|setup| setup.set("listen.head_timeout", "1s")).await;
    let hasty = gateway(|setup| {
        setup.set("listen.head_timeout", "200ms");
        setup.set("listen.idle_timeout", "500ms");
        setup.set("api.body_timeout", "300ms");
        setup.set("api.max_body", "1KiB");
    })
    .await;
    let full = gateway(|setup| setup.set("listen.max_connections", "1")).await;
    let mut occupant = full.connect().await;
    while occupant.get("/nowhere").await.status != 404 {
        occupant = full.connect().await;
    }
    let mut all = String::from("| sent | answered |\n|---|---|\n");
    for (gateway, rows) in [
        (&usual, rows::hosts_and_headers()),
        (&usual, rows::targets()),
        (&usual, rows::bodies()),
        (&hasty, rows::slow()),
        (&full, rows::flood()),
    ] {
        all += &table(gateway, rows).await;
    }
    println!("{all}");
    let documented = include_str!("../../docs/wire.md");
    assert!(documented.ends_with(&all), "docs/wire.md has another table");
    for gateway in [usual, hasty, full] {
        assert_eq!(
            gateway.calls(),
            1,
            "the origin is asked for one image, once"
        );
        assert_eq!(gateway.metric("pai_gateway_panics_total", &[]).await, 0.0);
    }
    assert_eq!(occupant.get("/nowhere").await.status, 404);
}
