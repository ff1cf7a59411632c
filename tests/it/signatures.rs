//! Signatures of older and other SDKs.

use std::fmt::Write as _;

use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use http::{Method, StatusCode};
use pai_image_gateway::emulator::Store;

use crate::support::signed::{Guarded, Signer, clients, guard};
use crate::support::tls::{H1, H2, Hello, TlsGateway};
use crate::support::{Answer, path};

/// A request signed by ROA v2, with only the headers that the oldest SDKs send.
struct Roa<'a> {
    method: Method,
    /// The path, and behind `?` the query as it is signed: decoded.
    resource: &'a str,
    more: &'a [(&'a str, &'a str)],
}

impl Roa<'_> {
    fn headers(&self) -> Vec<(String, String)> {
        let date = httpdate::fmt_http_date(std::time::SystemTime::now());
        let mut text = format!("{}\napplication/json\n\n\n{date}\n", self.method);
        let mut headers = vec![("date", date.as_str()), ("accept", "application/json")];
        let mut signed = self.more.to_vec();
        signed.sort_unstable();
        for (name, value) in &signed {
            writeln!(text, "{name}:{value}").unwrap();
        }
        headers.extend(signed);
        text.push_str(self.resource);
        let key = hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, b"chief-secret");
        let signature = BASE64_STANDARD.encode(hmac::sign(&key, text.as_bytes()));
        let authorization = format!("acs GWCHIEF:{signature}");
        headers.push(("authorization", &authorization));
        let owned = headers.into_iter();
        owned
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect()
    }

    async fn send(&self, guarded: &Guarded, target: &str) -> Answer {
        let request = (self.method.clone(), target, "");
        guarded.send(request, &self.headers(), &[]).await
    }
}

fn read(resource: &str) -> Roa<'_> {
    Roa {
        method: Method::GET,
        resource,
        more: &[],
    }
}

#[tokio::test]
async fn a_read_needs_neither_action_nor_version_nor_nonce() {
    let guarded = Guarded::usual().await;
    let image = path(&Store::id(1));
    for target in [
        image.as_str(),
        "/api/v1/images?PageSize=1",
        "/api/v1/images?Labels=system.chipType=GPU,system.official=true",
    ] {
        let answer = read(target).send(&guarded, target).await;
        assert_eq!(answer.status, StatusCode::OK, "{target} {answer:?}");
    }
    for (header, code) in [
        (("x-acs-version", "2014-05-26"), "InvalidVersion"),
        (("x-acs-action", "RemoveImage"), "InvalidParameter"),
    ] {
        let roa = Roa {
            more: &[header],
            ..read(&image)
        };
        assert_eq!(roa.send(&guarded, &image).await.error_code(), code);
    }
    let other = path(&Store::id(2));
    let answer = read(&image).send(&guarded, &other).await;
    assert_eq!(answer.error_code(), "SignatureDoesNotMatch");
}

#[tokio::test]
async fn a_query_that_reads_like_another_once_decoded_is_refused() {
    let guarded = Guarded::usual().await;
    for (signed, sent) in [
        ("Name=a&WorkspaceId=2", "Name=a%26WorkspaceId%3D2"),
        ("Name=a&WorkspaceId=2", "Name%3Da%26WorkspaceId=2"),
        ("Labels=a=b", "Labels%3Da=b"),
    ] {
        let signed = format!("/api/v1/images?{signed}");
        let sent = format!("/api/v1/images?{sent}");
        let answer = read(&signed).send(&guarded, &sent).await;
        assert_eq!(answer.error_code(), "SignatureDoesNotMatch", "{sent}");
    }
    assert_eq!(guarded.gateway.calls(), 0);
}

#[tokio::test]
async fn a_write_needs_a_nonce_and_a_connection_that_nobody_changes() {
    let image = path(&Store::id(1));
    let plain = Guarded::usual().await;
    let nonce = [("x-acs-signature-nonce", "1")];
    let write = |more| Roa {
        method: Method::DELETE,
        resource: &image,
        more,
    };
    let answer = write(&nonce).send(&plain, &image).await;
    assert_eq!(answer.error_code(), "Gateway.Forbidden");
    let message = answer.json()["Message"].to_string();
    assert!(message.contains("TLS or a Unix socket"), "{message}");
    assert!(!message.contains("loopback"), "{message}");
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("socket").display().to_string();
    let private = Guarded::start(|setup| setup.set("listen.unix", &socket)).await;
    let answer = write(&[]).send(&private, &image).await;
    assert_eq!(answer.error_code(), "SignatureDoesNotMatch");
    let answer = write(&nonce).send(&private, &image).await;
    assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
    let answer = write(&nonce).send(&private, &image).await;
    assert_eq!(answer.error_code(), "SignatureNonceUsed");
}

/// The value that HTTP/2 carries as `:authority` was signed as `host`.
#[tokio::test]
async fn a_signature_is_good_over_http_2_too() {
    let folder = clients();
    let tls = TlsGateway::start(|setup| guard(setup, folder.path())).await;
    let image = path(&Store::id(1));
    for client in [H1, H2] {
        let client = tls.connect(&client).await;
        for (host, status) in [("localhost", 200), ("other.example", 400)] {
            let signer = Signer {
                host: host.to_owned(),
                ..Signer::chief()
            };
            let mut signed = signer.sign(&Method::GET, &image, "");
            signed.retain(|(name, _)| name != "host");
            let answer = client.get_with(&image, &pairs(&signed)).await.unwrap();
            assert_eq!(answer.status().as_u16(), status, "{host}");
        }
    }
}

#[tokio::test]
async fn beside_a_foreign_key_the_certificate_decides() {
    let folder = clients();
    let tls = TlsGateway::start(|setup| guard(setup, folder.path())).await;
    let job = tls.authority.issue(&["spiffe://example.com/job"]);
    let known = Hello {
        identity: Some(&job),
        ..H1
    };
    // `job` holds the workspace of the first alone; `chief` sees both.
    let (ours, theirs) = (path(&Store::id(1)), path(&Store::id(2)));
    let foreign = |id: &str| Signer::new(id, "whatever");
    for (client, signer, image, status) in [
        (&known, foreign("LTAI5tReal"), &ours, 200),
        (&known, foreign("GWNOBODY"), &ours, 200),
        (&known, foreign("LTAI5tReal"), &theirs, 404),
        (&H1, foreign("LTAI5tReal"), &ours, 404),
        (&known, Signer::chief(), &theirs, 200),
        (&known, foreign("GWCHIEF"), &ours, 400),
    ] {
        let signer = Signer {
            host: "localhost".to_owned(),
            ..signer
        };
        let mut signed = signer.sign(&Method::GET, image, "");
        signed.retain(|(name, _)| name != "host");
        let client = tls.connect(client).await;
        let answer = client.get_with(image, &pairs(&signed)).await.unwrap();
        let id = &signer.credentials.access_key_id;
        assert_eq!(answer.status().as_u16(), status, "{id} {image}");
    }
    let refused = "pai_gateway_sign_ins_refused_total";
    for (reason, count) in [("cloud_key", 3.0), ("unknown_key", 1.0), ("signature", 1.0)] {
        let counted = tls.gateway.metric(refused, &[("reason", reason)]).await;
        assert_eq!(counted, count, "{reason}");
    }
}

fn pairs(headers: &[(String, String)]) -> Vec<(&str, &str)> {
    let pairs = headers.iter();
    pairs
        .map(|(name, value)| (name.as_str(), value.as_str()))
        .collect()
}
