//! The gateway survives arbitrary bytes.

use pai_image_gateway::emulator::Store;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use tokio::runtime::Runtime;

use crate::support::{TestGateway, path, raw_and_hang_up};

/// Sends each input over a connection of its own; a good request is answered after each.
fn survives(inputs: impl Strategy<Value = Vec<u8>>) {
    let runtime = Runtime::new().unwrap();
    let gateway = runtime.block_on(TestGateway::with("listen.head_timeout", "1s"));
    let config = Config {
        cases: 200,
        failure_persistence: None,
        ..Config::default()
    };
    let tried = TestRunner::new(config).run(&inputs, |bytes| {
        runtime.block_on(async {
            raw_and_hang_up(&gateway.app.data, &bytes).await;
            let answer = gateway.image(&Store::id(1)).await;
            prop_assert_eq!(answer.status, 200);
            let panics = gateway.metric("pai_gateway_panics_total", &[]).await;
            prop_assert_eq!(panics, 0.0);
            Ok(())
        })
    });
    tried.unwrap();
    let written = runtime.block_on(async { gateway.emulator.counts().operations });
    assert!(written.keys().all(|name| !name.starts_with("Remove")));
}

/// Replaces, inserts or removes a byte.
#[derive(Debug, Clone)]
enum Change {
    Put(u8),
    Insert(u8),
    Remove,
}

fn changes() -> impl Strategy<Value = Vec<(prop::sample::Index, Change)>> {
    let change = prop_oneof![
        any::<u8>().prop_map(Change::Put),
        any::<u8>().prop_map(Change::Insert),
        Just(Change::Remove),
    ];
    vec((any::<prop::sample::Index>(), change), 1..6)
}

fn heads() -> impl Strategy<Value = String> {
    let image = path(&Store::id(1));
    let line = prop::sample::select(vec![
        format!("GET {image}?Verbose=True"),
        format!("DELETE {image}/labels/a%2Cb"),
        "POST /api/v1/images".to_owned(),
        "GET http://h/api/v1/image/labels?ImageId=a".to_owned(),
    ]);
    let fields = prop::sample::select(vec![
        "Cache-Control: no-cache, max-age=1\r\n",
        "Content-Length: 2\r\n",
        "Transfer-Encoding: chunked\r\n",
        "Expect: 100-continue\r\nContent-Length: 2\r\n",
        "",
    ]);
    (line, fields).prop_map(|(line, fields)| {
        format!("{line} HTTP/1.1\r\nHost: gateway:80\r\n{fields}\r\n2\r\n{{}}\r\n0\r\n\r\n")
    })
}

fn changed(head: &str, changes: Vec<(prop::sample::Index, Change)>) -> Vec<u8> {
    let mut bytes = head.as_bytes().to_vec();
    for (place, change) in changes {
        let place = place.index(bytes.len());
        match change {
            Change::Put(byte) => bytes[place] = byte,
            Change::Insert(byte) => bytes.insert(place, byte),
            Change::Remove => drop(bytes.remove(place)),
        }
    }
    bytes
}

#[test]
fn arbitrary_bytes_do_no_harm() {
    survives(vec(any::<u8>(), 0..2000));
}

#[test]
fn corrupted_heads_do_no_harm() {
    survives((heads(), changes()).prop_map(|(head, changes)| changed(&head, changes)));
}
