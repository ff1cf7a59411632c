//! A client that signs its requests, and a gateway that requires it.

use std::path::Path;

use bytes::Bytes;
use http::Method;
use jiff::Timestamp;
use pai_image_gateway::api::{Call, Query, VERSION};
use pai_image_gateway::signing::{Credentials, UnsignedRequest, sign};
use tempfile::TempDir;

use super::{Answer, Setup, TestGateway};

/// Clients: `chief` has every permission, the others few.
const CLIENTS: &str = r#"
[[client]]
name = "chief"
access_key_id = "GWCHIEF"
access_key_secret_file = ["chief.secret", "chief.next"]
permissions = ["get", "list", "resolve", "refresh", "write"]
workspaces = ["*"]
users = ["*"]
official = true

[[client]]
name = "team"
access_key_id = "GWTEAM"
access_key_secret_file = "team.secret"
bearer_sha256 = "4c5dc9b7708905f77f5e5d16316b5dfb425e68cb326dcd55a860e90a7707031e"
permissions = ["get", "list", "refresh", "write"]
workspaces = ["15945"]

[[client]]
name = "temporary"
access_key_id = "GWTEMP"
access_key_secret_file = "team.secret"
security_token_file = "token"
permissions = ["get"]
workspaces = ["15945"]

[[client]]
name = "frugal"
access_key_id = "GWFRUGAL"
access_key_secret_file = "team.secret"
permissions = ["get", "resolve"]
workspaces = ["*"]
users = ["*"]
official = true
misses_per_second = 1

[[client]]
name = "scheduler"
access_key_id = "GWSCHEDULER"
access_key_secret_file = "team.secret"
bearer_sha256 = "f0094a082d66b6490800e86944057bbac09fd51b43650670bbd3fb7be149235d"
permissions = ["resolve"]
workspaces = ["15945"]

[[client]]
name = "job"
mtls_name = "spiffe://example.com/job"
permissions = ["get"]
workspaces = ["15945"]
"#;

/// The token of `bearer_sha256` above: `printf %s test-token | sha256sum`.
pub(crate) const TOKEN: &str = "test-token";

/// A gateway that requires authentication.
pub(crate) struct Guarded {
    pub(crate) gateway: TestGateway,
    pub(crate) folder: TempDir,
}

/// The client that signs a request, and its algorithm.
#[derive(Clone)]
pub(crate) struct Signer {
    pub(crate) credentials: Credentials,
    pub(crate) date: Option<Timestamp>,
    pub(crate) host: String,
}

impl Signer {
    pub(crate) fn new(id: &str, secret: &str) -> Self {
        Self {
            credentials: Credentials {
                access_key_id: id.to_owned(),
                access_key_secret: secret.into(),
                security_token: None,
            },
            date: None,
            host: "gateway.example".to_owned(),
        }
    }

    pub(crate) fn chief() -> Self {
        Self::new("GWCHIEF", "chief-secret")
    }

    pub(crate) fn team() -> Self {
        Self::new("GWTEAM", "team-secret")
    }

    pub(crate) fn frugal() -> Self {
        Self::new("GWFRUGAL", "team-secret")
    }

    pub(crate) fn scheduler() -> Self {
        Self::new("GWSCHEDULER", "team-secret")
    }

    /// The headers of a signed request.
    pub(crate) fn sign(&self, method: &Method, target: &str, body: &str) -> Vec<(String, String)> {
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        // A request that is refused names what it meant, too.
        let action = Call::classify(method, path, Some(query)).map_or_else(
            |misrouted| misrouted.action(),
            |call| call.operation.action(),
        );
        let draft = UnsignedRequest {
            method: method.clone(),
            host: self.host.clone(),
            path: path.to_owned(),
            query: Query::parse(query).unwrap().canonical(),
            action: action.as_str(),
            version: VERSION,
            body: Bytes::copy_from_slice(body.as_bytes()),
        };
        let nonce = format!("{:032x}", fastrand::u128(..));
        let date = self.date.unwrap_or_else(Timestamp::now);
        sign(&draft, &self.credentials, date, &nonce)
            .into_iter()
            .map(|(name, value)| (name.to_owned(), value))
            .collect()
    }
}

/// Makes a folder with the clients file, its secrets and an admin token.
pub(crate) fn clients() -> TempDir {
    let folder = TempDir::new().unwrap();
    for (name, text) in [
        ("clients.toml", CLIENTS),
        ("chief.secret", "chief-secret\n"),
        ("chief.next", "chief-next"),
        ("team.secret", "team-secret\n"),
        ("token", "sts/token+=\n"),
        ("admin", "admin-token\n"),
    ] {
        std::fs::write(folder.path().join(name), text).unwrap();
    }
    folder
}

/// Admits these clients only.
pub(crate) fn guard(setup: &mut Setup, folder: &Path) {
    let place = |name: &str| folder.join(name).display().to_string();
    setup.set("auth.mode", "required");
    setup.set("auth.clients_file", &place("clients.toml"));
    setup.set("admin.token_file", &place("admin"));
    setup.set("audit.to", &place("audit"));
    setup.set("api.writes", "true");
}

impl Guarded {
    pub(crate) async fn usual() -> Self {
        Self::start(|_| {}).await
    }

    pub(crate) async fn start(change: impl FnOnce(&mut Setup)) -> Self {
        let folder = clients();
        let gateway = TestGateway::start(|setup| {
            guard(setup, folder.path());
            setup.set("reload.interval", "50ms");
            change(setup);
        })
        .await;
        Self { gateway, folder }
    }

    /// Sends a signed request with further unsigned headers.
    pub(crate) async fn ask(
        &self,
        signer: &Signer,
        (method, target, body): (Method, &str, &str),
        more: &[(&str, &str)],
    ) -> Answer {
        let signed = signer.sign(&method, target, body);
        self.send((method, target, body), &signed, more).await
    }

    /// Sends a request with the signed headers.
    pub(crate) async fn send(
        &self,
        (method, target, body): (Method, &str, &str),
        signed: &[(String, String)],
        more: &[(&str, &str)],
    ) -> Answer {
        let mut headers: Vec<(&str, &str)> = signed
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()))
            .collect();
        headers.extend(more);
        self.gateway.request(method, target, &headers, body).await
    }

    pub(crate) async fn get(&self, signer: &Signer, target: &str) -> Answer {
        self.ask(signer, (Method::GET, target, ""), &[]).await
    }
}
