//! Clients that authenticate with the token of their Kubernetes service account, a child gateway among them.

mod check;
mod child;
mod keys;
pub(crate) mod stand_in;

use http::Method;
use pai_image_gateway::emulator::Store;

use crate::support::signed::Signer;
use crate::support::{Answer, eventually, path};
use stand_in::{Cluster, Vectors};

/// The answer to a token that nobody issued.
const UNKNOWN: (u16, &str) = (404, "InvalidAccessKeyId.NotFound");

fn is_unknown(answer: &Answer) -> bool {
    let (status, code) = answer.error();
    (status, code.as_str()) == UNKNOWN
}

#[tokio::test]
async fn a_token_of_the_clients_account_authenticates_by_either_header() {
    let cluster = Cluster::start("all").await;
    let vectors = Vectors::read();
    let (inside, outside) = (Store::id(1), "image-elsewhere");
    let elsewhere = r#"{"Accessibility":"PUBLIC","WorkspaceId":"999"}"#;
    let store = cluster.gateway.gateway.emulator.store();
    store.put_raw(outside, elsewhere);
    for name in [
        "good",
        "second key",
        "P-256",
        "P-384",
        "one of two audiences",
    ] {
        let token = vectors.token(name);
        let bearer = format!("Bearer {token}");
        for header in [("authorization", &*bearer), ("x-acs-bearer-token", token)] {
            cluster.get(&path(&inside), header).await.found();
        }
        // The grant is the client's own, as with any other credential.
        let hidden = cluster.bearer(&path(outside), token).await;
        assert_eq!(hidden.error(), (404, "ImageNotFound".to_owned()));
        let list = cluster
            .bearer("/api/v1/images?WorkspaceId=15945", token)
            .await;
        assert_eq!(list.error(), (403, "Gateway.Forbidden".to_owned()));
    }
    let hits = [("client", "pods"), ("outcome", "hit")];
    assert_eq!(
        cluster
            .metric("pai_gateway_client_requests_total", &hits)
            .await,
        9.0
    );
}

#[tokio::test]
async fn every_bad_token_gets_the_answer_of_an_unknown_one_and_is_counted_by_its_reason() {
    let cluster = Cluster::start("all").await;
    let unknown = cluster
        .bearer(&path(&Store::id(1)), "nobody-issued-this")
        .await;
    assert!(is_unknown(&unknown), "{unknown:?}");
    let vectors = Vectors::read();
    let mut tried = 0;
    for (name, token, reason) in vectors.refused() {
        let before = cluster.refused(reason).await;
        let answer = cluster.bearer(&path(&Store::id(1)), token).await;
        assert_eq!(answer.shape(), unknown.shape(), "{name}");
        assert_eq!(
            cluster.refused(reason).await,
            before + 1.0,
            "{name}: {reason}"
        );
        tried += 1;
    }
    assert!(tried > 25, "{tried}");
    assert_eq!(cluster.gateway.gateway.calls(), 0);
}

#[tokio::test]
async fn a_reload_that_removes_the_client_refuses_its_remembered_token_at_once() {
    let cluster = Cluster::start("first").await;
    let vectors = Vectors::read();
    let token = vectors.token("good");
    cluster.bearer(&path(&Store::id(1)), token).await.found();
    cluster.rewrite_clients("training/other");
    eventually("the clients are reloaded", async || {
        cluster.bearer(&path(&Store::id(1)), token).await.status == 404
    })
    .await;
    assert!(cluster.refused("token_unknown_subject").await >= 1.0);
    cluster.rewrite_clients("training/scheduler");
    eventually("the clients are reloaded", async || {
        cluster.bearer(&path(&Store::id(1)), token).await.status == 200
    })
    .await;
}

#[tokio::test]
async fn a_token_gives_its_client_no_further_permission_and_signatures_are_accepted_beside_it() {
    let cluster = Cluster::start("first").await;
    let chief = Signer::chief();
    cluster
        .gateway
        .get(&chief, &path(&Store::id(1)))
        .await
        .found();
    let token = Vectors::read().token("good").to_owned();
    let put = (
        Method::PUT,
        &*format!("{}/publish", path(&Store::id(1))),
        "",
    );
    let header = [("authorization".to_owned(), format!("Bearer {token}"))];
    let written = cluster.gateway.send(put, &header, &[]).await;
    assert_eq!(written.error(), (403, "Gateway.Forbidden".to_owned()));
}
