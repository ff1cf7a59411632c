//! A gateway without a secret: it presents its service account's token to a parent gateway.

use std::fs;
use std::path::Path;

use pai_image_gateway::config::{self, Layers};
use pai_image_gateway::emulator::Store;
use tempfile::TempDir;

use super::stand_in::{Cluster, Vectors};
use crate::support::{Setup, TestGateway, eventually, path};

const LOADS: &str = "pai_gateway_credential_refreshes_total";

/// A child gateway and the folder of its token.
struct Child {
    gateway: TestGateway,
    folder: TempDir,
}

impl Child {
    /// Starts one below the cluster's gateway with this token.
    async fn start(parent: &Cluster, token: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("token"), token).unwrap();
        let endpoint = format!("http://{}", parent.gateway.gateway.app.data);
        let gateway = TestGateway::start(|setup: &mut Setup| {
            setup.set("upstream.kind", "gateway");
            setup.set("upstream.endpoint", &endpoint);
            setup.set("credentials.source", "token_file");
            setup.set("credentials.token_file", &place(folder.path()));
            setup.set("credentials.refresh", "50ms");
        })
        .await;
        Self { gateway, folder }
    }

    /// Replaces the token as the kubelet does: by a rename.
    fn rotate(&self, token: &str) {
        let new = self.folder.path().join("new");
        fs::write(&new, format!("{token}\n")).unwrap();
        fs::rename(new, place(self.folder.path())).unwrap();
    }

    async fn loads(&self, result: &str) -> f64 {
        let labels = [("source", "token_file"), ("result", result)];
        self.gateway.metric(LOADS, &labels).await
    }
}

/// Adds an image to the origin that the parent's client may see.
fn visible(parent: &Cluster, id: &str) {
    let image = r#"{"Accessibility":"PUBLIC","WorkspaceId":"15945"}"#;
    parent.gateway.gateway.emulator.store().put_raw(id, image);
}

fn place(folder: &Path) -> String {
    folder.join("token").display().to_string()
}

#[tokio::test]
async fn a_child_without_a_secret_gets_what_its_service_account_may_see() {
    let (parent, vectors) = (Cluster::start("first").await, Vectors::read());
    let store = parent.gateway.gateway.emulator.store();
    store.put_raw(
        "hidden",
        r#"{"Accessibility":"PUBLIC","WorkspaceId":"999"}"#,
    );
    let child = Child::start(&parent, vectors.token("good")).await;
    child.gateway.image(&Store::id(1)).await.found();
    let hidden = child.gateway.image("hidden").await;
    assert_eq!(hidden.error(), (404, "ImageNotFound".to_owned()));
    let served = [("client", "pods"), ("outcome", "miss")];
    assert_eq!(
        parent
            .metric("pai_gateway_client_requests_total", &served)
            .await,
        1.0
    );
    let credential = child.gateway.page("/status").await["credential"].clone();
    assert_eq!(credential["source"], "token_file");
    assert_eq!(credential["access_key_id"], serde_json::Value::Null);
    assert_eq!(credential["expires_at"], "2100-01-01T00:00:00Z");
    let token = vectors.token("good");
    for target in ["/status", "/config", "/metrics"] {
        let page = child.gateway.admin(http::Method::GET, target, "").await;
        assert!(!page.text().contains(token), "{target}");
    }
}

#[tokio::test]
async fn a_rotated_token_is_used_and_the_former_one_costs_no_client_its_image() {
    let often = |setup: &mut Setup| setup.set("auth.kubernetes.refresh", "1s");
    let (parent, vectors) = (Cluster::start_with("all", often).await, Vectors::read());
    let child = Child::start(&parent, vectors.token("good")).await;
    child.gateway.image(&Store::id(1)).await.found();
    let before = child.loads("ok").await;
    child.rotate(vectors.token("second key"));
    eventually("the token is read again", async || {
        child.loads("ok").await > before + 1.0
    })
    .await;
    // From here on the parent refuses the former token, of which nothing may be left.
    *parent.served.lock() = "second";
    eventually("the parent forgets the first key", async || {
        let target = path(&Store::id(1));
        parent.bearer(&target, vectors.token("good")).await.status == 404
    })
    .await;
    visible(&parent, "new");
    child.gateway.image("new").await.found();
}

#[tokio::test]
async fn a_refused_token_is_the_gateways_fault_until_its_file_has_another() {
    let (parent, vectors) = (Cluster::start("first").await, Vectors::read());
    let child = Child::start(&parent, vectors.token("another account")).await;
    let refused = child.gateway.image(&Store::id(1)).await;
    assert_eq!(
        refused.error(),
        (502, "Gateway.CredentialRejected".to_owned())
    );
    assert!(parent.refused("token_unknown_subject").await >= 1.0);
    child.rotate(vectors.token("good"));
    eventually("the next token is accepted", async || {
        child.gateway.image(&Store::id(1)).await.status == 200
    })
    .await;
}

#[tokio::test]
async fn the_last_token_serves_while_its_file_is_gone_or_unusable() {
    let (parent, vectors) = (Cluster::start("first").await, Vectors::read());
    let child = Child::start(&parent, vectors.token("good")).await;
    let file = place(child.folder.path());
    for (at, broken) in [
        None,
        Some(""),
        Some("two words"),
        Some(vectors.token("expired")),
    ]
    .into_iter()
    .enumerate()
    {
        let before = child.loads("error").await;
        match broken {
            None => fs::remove_file(&file).unwrap(),
            Some(text) => child.rotate(text),
        }
        eventually("the file cannot be used", async || {
            child.loads("error").await > before
        })
        .await;
        let id = format!("new-{at}");
        visible(&parent, &id);
        child.gateway.image(&id).await.found();
        let before = child.loads("ok").await;
        child.rotate(vectors.token("good"));
        eventually("the file can be used again", async || {
            child.loads("ok").await > before
        })
        .await;
    }
}

#[test]
fn a_token_for_the_api_and_a_missing_file_are_wrong_settings() {
    let flags = [
        "credentials.source=token_file",
        "credentials.token_file=/no/such/token",
        "upstream.region=cn-hangzhou",
    ];
    let problems = config::load(&Layers::new().flags(flags))
        .unwrap_err()
        .to_string();
    assert!(problems.contains("credentials.source") && problems.contains("parent gateway"));
    assert!(problems.contains("credentials.token_file (") && problems.contains("cannot be read"));
}
