//! Responses to a client, from the origin and from memory.

mod head;

use std::collections::HashSet;

use http::Method;
use pai_image_gateway::emulator::{FaultKind, Store};

use crate::support::{TestGateway, path, times};

const EXAMPLE: &[u8] = include_bytes!("../vectors/getimage_example.json");

#[tokio::test]
async fn the_documented_example_goes_through_byte_for_byte() {
    let gateway = TestGateway::usual().await;
    gateway.emulator.store().put_raw("image-example", EXAMPLE);
    for expected in ["pai-image-gateway; fwd=uri-miss; stored", "hit"] {
        let answer = gateway.image("image-example").await;
        assert_eq!(answer.status, 200);
        assert_eq!(answer.body, EXAMPLE);
        assert_eq!(answer.header("content-length"), EXAMPLE.len().to_string());
        assert!(answer.cache_status().contains(expected), "{answer:?}");
    }
    assert_eq!(gateway.emulator.fetches("image-example"), 1);
}

#[tokio::test]
async fn unknown_null_and_repeated_fields_go_through_untouched() {
    let gateway = TestGateway::usual().await;
    let odd =
        "{ \"Zz\":null,\t\"Size\":99999999999,\"a\":1,\"a\":2,\"\\u4e2d\":\"\\ud83d\\ude00\" }\n";
    gateway.emulator.store().put_raw("image-odd", odd);
    for _ in 0..2 {
        assert_eq!(gateway.image("image-odd").await.text(), odd);
    }
}

#[tokio::test]
async fn a_miss_has_the_headers_of_the_contract() {
    let gateway = TestGateway::usual().await;
    let answer = gateway.image(&Store::id(1)).await;
    let body = answer.found();
    assert_eq!(answer.header("content-type"), "application/json");
    assert_eq!(answer.header("content-length"), "626");
    assert!(httpdate::parse_http_date(answer.header("date")).is_ok());
    assert_eq!(answer.header("age"), "0");
    assert_eq!(
        answer.cache_status(),
        "pai-image-gateway; fwd=uri-miss; stored"
    );
    assert_eq!(answer.header("x-acs-request-id"), body["RequestId"]);
    assert_eq!(answer.header("x-pai-gateway-request-id").len(), 36);
}

#[tokio::test]
async fn a_hit_reports_its_ttl_and_the_origins_request_id() {
    let gateway = TestGateway::start(|setup| {
        setup.set("freshness.jitter", "0");
        setup.set("freshness.max", "30m");
    })
    .await;
    gateway.emulator.store().put_raw("image-example", EXAMPLE);
    let miss = gateway.image("image-example").await;
    let hit = gateway.image("image-example").await;
    let ttl = hit
        .cache_status()
        .strip_prefix("pai-image-gateway; hit; ttl=");
    let ttl: u64 = ttl.unwrap().parse().unwrap();
    let age: u64 = hit.header("age").parse().unwrap();
    assert_eq!(ttl + age, 1800);
    assert!(!hit.header("date").is_empty());
    assert_eq!(
        hit.header("x-acs-request-id"),
        miss.header("x-acs-request-id")
    );
}

#[tokio::test]
async fn nothing_of_the_origins_other_headers_is_passed_on() {
    let gateway = TestGateway::usual().await;
    for _ in 0..2 {
        let answer = gateway.image(&Store::id(2)).await;
        let mut names: Vec<_> = answer.headers.keys().map(|name| name.as_str()).collect();
        names.sort_unstable();
        assert_eq!(
            names,
            [
                "age",
                "cache-status",
                "content-length",
                "content-type",
                "date",
                "x-acs-request-id",
                "x-pai-gateway-request-id"
            ]
        );
    }
}

#[tokio::test]
async fn every_answer_has_an_id_of_its_own() {
    let gateway = TestGateway::usual().await;
    let mut connection = gateway.connect().await;
    let mut ids = HashSet::new();
    for target in [
        path(&Store::id(1)),
        path("image-none"),
        "/nowhere".to_owned(),
    ] {
        for _ in 0..20 {
            let answer = connection.get(&target).await;
            ids.insert(answer.header("x-pai-gateway-request-id").to_owned());
        }
    }
    assert_eq!(ids.len(), 60);
}

#[tokio::test]
async fn conditional_requests_get_the_whole_image() {
    let gateway = TestGateway::usual().await;
    let target = path(&Store::id(1));
    for headers in [
        ("if-none-match", "*"),
        ("if-modified-since", "Fri, 01 Jan 2100 00:00:00 GMT"),
    ] {
        let answer = gateway.request(Method::GET, &target, &[headers], "").await;
        assert_eq!((answer.status.as_u16(), answer.body.len()), (200, 626));
        assert_eq!(answer.header("etag"), "");
    }
}

#[tokio::test]
async fn an_answer_is_never_compressed() {
    let gateway = TestGateway::usual().await;
    let target = path(&Store::id(1));
    let headers = [("accept-encoding", "gzip, deflate, br")];
    for _ in 0..2 {
        let answer = gateway.request(Method::GET, &target, &headers, "").await;
        assert_eq!(answer.header("content-encoding"), "");
        assert_eq!(answer.found()["ImageId"], Store::id(1));
    }
}

#[tokio::test]
async fn a_compressed_answer_of_the_origin_is_kept_plain() {
    let gateway = TestGateway::usual().await;
    gateway.emulator.script(vec![times(1, FaultKind::Gzip)]);
    for expected in ["stored", "hit"] {
        let answer = gateway.image(&Store::id(1)).await;
        assert_eq!(answer.found()["ImageId"], Store::id(1));
        assert_eq!(answer.header("content-encoding"), "");
        assert_eq!(answer.header("content-length"), "626");
        assert!(answer.cache_status().contains(expected), "{answer:?}");
    }
    assert_eq!(gateway.calls(), 1);
}

#[tokio::test]
async fn sizes_above_32_bits_survive() {
    let gateway = TestGateway::usual().await;
    let size = gateway.emulator.store().get(&Store::id(1)).unwrap().size;
    assert!(size > u64::from(u32::MAX));
    for _ in 0..2 {
        assert_eq!(gateway.image(&Store::id(1)).await.found()["Size"], size);
    }
}

#[tokio::test]
async fn with_and_without_labels_are_two_entries() {
    let gateway = TestGateway::usual().await;
    let id = Store::id(1);
    let verbose = format!("{}?Verbose=True", path(&id));
    for _ in 0..2 {
        assert!(gateway.image(&id).await.found()["Labels"].is_null());
        assert!(gateway.get(&verbose).await.found()["Labels"].is_array());
    }
    assert_eq!(gateway.emulator.fetches(&id), 2);
    assert_eq!(gateway.page("/status").await["cache"]["entries"], 2);
}

#[tokio::test]
async fn one_image_is_one_entry_however_it_is_spelled() {
    let gateway = TestGateway::usual().await;
    let id = Store::id(1);
    let rest = id.strip_prefix("image-").unwrap();
    for target in [
        path(&id),
        format!("/api/v1/images/%69mage%2D{rest}"),
        format!("/api/v1/images/%69mage%2d{rest}?"),
        format!("{}?Verbose", path(&id)),
        format!("{}?Verbose=", path(&id)),
        format!("{}?Verbose=False", path(&id)),
        format!("{}?%56erbose=fAlSe", path(&id)),
    ] {
        assert_eq!(
            gateway.get(&target).await.found()["ImageId"],
            id,
            "{target}"
        );
    }
    assert_eq!(gateway.emulator.fetches(&id), 1);
    assert_eq!(gateway.outcomes("hit").await, 6.0);
}

#[tokio::test]
async fn no_header_of_a_client_reaches_the_origin() {
    let gateway = TestGateway::usual().await;
    let headers = [
        (
            "authorization",
            "ACS3-HMAC-SHA256 Credential=x,SignedHeaders=host,Signature=0",
        ),
        ("x-acs-action", "RemoveImage"),
        ("x-acs-security-token", "of-a-client"),
        ("x-acs-date", "2001-01-01T00:00:00Z"),
    ];
    let target = path(&Store::id(1));
    let answer = gateway.request(Method::GET, &target, &headers, "").await;
    assert_eq!(answer.status, 200);
    assert!(gateway.emulator.counts().rejected.is_empty());
}
