//! Certificates that change while the gateway runs.

use std::fs;

use http::StatusCode;
use pai_image_gateway::emulator::Store;

use crate::support::tls::{Authority, Client, H1, H2, Hello, TlsGateway, leaf};
use crate::support::{eventually, path};

async fn is_answered(client: &Client) {
    let answer = client.get(&path(&Store::id(1))).await.unwrap();
    assert_eq!(answer.status(), StatusCode::OK);
}

#[tokio::test]
async fn a_rewritten_certificate_is_shown_to_new_connections() {
    let tls = TlsGateway::usual().await;
    let old = [tls.connect(&H1).await, tls.connect(&H2).await];
    let next = tls.authority.issue(&["localhost"]);
    next.write(&tls.file("data"));
    let certificate = leaf(&next.certificate);
    eventually("the new one is shown", async || {
        tls.shown().await == certificate
    })
    .await;
    for client in &old {
        is_answered(client).await;
    }
    assert_eq!(tls.reloads("ok").await, 1.0);
}

/// Seconds as `date -u -d 2031-01-01 +%s` prints them.
#[tokio::test]
async fn the_end_of_the_served_certificate_is_exposed_and_follows_a_change() {
    let tls = TlsGateway::usual().await;
    for (year, seconds) in [(2031, 1_924_992_000.0), (2061, 2_871_763_200.0)] {
        tls.authority.issue_until(year).write(&tls.file("data"));
        let name = "pai_gateway_tls_certificate_expiry_timestamp_seconds";
        eventually("its end is exposed", async || {
            tls.gateway.metric(name, &[]).await == seconds
        })
        .await;
    }
}

#[tokio::test]
async fn a_certificate_swapped_by_symbolic_link_is_shown_to_new_connections() {
    let tls = TlsGateway::usual().await;
    let old = [tls.connect(&H1).await, tls.connect(&H2).await];
    let next = tls.authority.issue(&["localhost"]);
    next.write(&tls.file("2"));
    std::os::unix::fs::symlink("2", tls.file("next")).unwrap();
    fs::rename(tls.file("next"), tls.file("data")).unwrap();
    let certificate = leaf(&next.certificate);
    eventually("the new one is shown", async || {
        tls.shown().await == certificate
    })
    .await;
    for client in &old {
        is_answered(client).await;
    }
}

#[tokio::test]
async fn a_certificate_that_cannot_be_used_changes_nothing() {
    let tls = TlsGateway::usual().await;
    let before = tls.shown().await;
    let whole = fs::read(tls.file("data/tls.crt")).unwrap();
    let stranger = tls.authority.issue(&["localhost"]).certificate;
    for (count, bad) in [(1.0, "no certificate"), (2.0, &stranger)] {
        fs::write(tls.file("data/next"), bad).unwrap();
        fs::rename(tls.file("data/next"), tls.file("data/tls.crt")).unwrap();
        eventually("it is refused", async || {
            tls.reloads("error").await == count
        })
        .await;
        assert_eq!(tls.shown().await, before);
    }
    fs::write(tls.file("data/next"), whole).unwrap();
    fs::rename(tls.file("data/next"), tls.file("data/tls.crt")).unwrap();
    eventually("it is mended", async || tls.reloads("ok").await == 1.0).await;
    assert_eq!(tls.shown().await, before);
}

#[tokio::test]
async fn a_changed_client_ca_accepts_other_clients() {
    let tls = TlsGateway::usual().await;
    let other = Authority::new();
    let identity = other.issue(&["job.example.com"]);
    let client = || Hello {
        identity: Some(&identity),
        ..H1
    };
    let comes_in = async || match tls.hello(&client()).await {
        Ok(stream) => Client::over(stream)
            .await
            .get(&path(&Store::id(1)))
            .await
            .is_ok(),
        Err(_) => false,
    };
    assert!(!comes_in().await);
    fs::write(tls.file("next"), &other.pem).unwrap();
    fs::rename(tls.file("next"), tls.file("ca.crt")).unwrap();
    eventually("the client is accepted", comes_in).await;
}
