//! A parent gateway with authentication, and children that call it with a key that it issued.

use std::io::Write as _;

use http::Method;
use pai_image_gateway::environment::Environment;

use crate::support::signed::{Guarded, clients, guard};
use crate::support::{Setup, TestGateway, eventually};

/// A client that can see everything, and may neither refresh nor resolve.
const SIDECAR: &str = r#"
[[client]]
name = "sidecar"
access_key_id = "GWSIDECAR"
access_key_secret_file = "sidecar.secret"
permissions = ["get", "list", "write"]
workspaces = ["*"]
users = ["*"]
official = true
"#;

/// Keys that the parent issued.
pub(super) const REFRESHING: (&str, &str) = ("GWCHIEF", "chief-secret");
pub(super) const PLAIN: (&str, &str) = ("GWSIDECAR", "sidecar-secret");
pub(super) const NARROW: (&str, &str) = ("GWTEAM", "team-secret");

/// A parent gateway.
pub(super) struct Family {
    pub(super) parent: Guarded,
}

impl Family {
    pub(super) async fn usual() -> Self {
        Self::start(|_| {}).await
    }

    pub(super) async fn start(change: impl FnOnce(&mut Setup)) -> Self {
        let folder = clients();
        let file = folder.path().join("clients.toml");
        let mut file = std::fs::File::options().append(true).open(file).unwrap();
        file.write_all(SIDECAR.as_bytes()).unwrap();
        std::fs::write(folder.path().join("sidecar.secret"), PLAIN.1).unwrap();
        let gateway = TestGateway::start(|setup| {
            guard(setup, folder.path());
            change(setup);
        })
        .await;
        let parent = Guarded { gateway, folder };
        Self { parent }
    }

    /// Starts a child with this key.
    pub(super) async fn child(&self, key: (&str, &str)) -> TestGateway {
        self.child_with(key, |_| {}).await
    }

    pub(super) async fn child_with(
        &self,
        key: (&str, &str),
        change: impl FnOnce(&mut Setup),
    ) -> TestGateway {
        let parent = self.parent.gateway.app.data.to_string();
        TestGateway::start(|setup| {
            below(setup, &parent, key);
            change(setup);
        })
        .await
    }

    /// Returns the number of GetImage requests that the parent has answered.
    pub(super) async fn asked(&self) -> f64 {
        let labels = [("operation", "GetImage")];
        self.answers(&labels).await
    }

    pub(super) async fn answers(&self, labels: &[(&str, &str)]) -> f64 {
        let text = self.admin(Method::GET, "/metrics", "").await.text();
        crate::support::sample(&text, "pai_gateway_requests_total", labels)
    }

    /// Returns the number of calls to the origin for an image.
    pub(super) fn fetches(&self, id: &str) -> u64 {
        self.parent.gateway.emulator.fetches(id)
    }

    /// Waits until the parent's entry of an image is a second old.
    pub(super) async fn aged(&self, id: &str) {
        let target = format!("/entries/{id}");
        eventually("a second has passed", async || {
            let page = self.admin(Method::GET, &target, "").await.json();
            page["variants"][0]["age_seconds"].as_u64() >= Some(1)
        })
        .await;
    }

    /// Purges an image softly at the parent.
    pub(super) async fn soften(&self, id: &str) {
        let request = format!(r#"{{"image":"{id}","soft":true}}"#);
        let answer = self.admin(Method::POST, "/purge", &request).await;
        assert_eq!(answer.json()["purged"], 1, "{answer:?}");
    }

    async fn admin(&self, method: Method, target: &str, body: &str) -> crate::support::Answer {
        let headers = [
            ("authorization", "Bearer admin-token"),
            ("content-type", "application/json"),
        ];
        let address = &self.parent.gateway.app.admin;
        crate::support::ask(address, method, target, &headers, body).await
    }
}

/// Settings of a gateway that calls this one with this key.
pub(super) fn below(setup: &mut Setup, parent: &str, key: (&str, &str)) {
    setup.set("upstream.kind", "gateway");
    setup.set("upstream.endpoint", &format!("http://{parent}"));
    setup.environment = credentials(key);
}

pub(super) fn credentials((id, secret): (&str, &str)) -> Environment {
    [
        ("ALIBABA_CLOUD_ACCESS_KEY_ID", id),
        ("ALIBABA_CLOUD_ACCESS_KEY_SECRET", secret),
    ]
    .map(|(name, value)| (name.to_owned(), value.to_owned()))
    .into()
}
