//! A cluster that issues tokens, as far as a gateway sees it: its public keys, and tokens made by PyJWT.

use std::fs;
use std::sync::Arc;

use http::Method;
use parking_lot::Mutex;
use serde_json::Value;

use crate::credentials::stand_in::StandIn;
use crate::support::signed::{Guarded, clients, guard};
use crate::support::{Answer, Setup, TestGateway, ask, sample};

/// Keys and tokens of tests/vectors.
pub(crate) struct Vectors(Value);

/// A gateway that accepts the cluster's tokens, and the server of the cluster's keys.
pub(crate) struct Cluster {
    pub(crate) gateway: Guarded,
    pub(crate) keys: StandIn,
    /// Name of the key set that the server returns; an empty one fails.
    pub(crate) served: Arc<Mutex<&'static str>>,
}

impl Vectors {
    pub(crate) fn read() -> Self {
        let text = include_str!("../../vectors/service_account_tokens.json");
        Self(serde_json::from_str(text).unwrap())
    }

    pub(crate) fn issuer(&self) -> &str {
        self.0["issuer"].as_str().unwrap()
    }

    pub(crate) fn key_set(&self, name: &str) -> String {
        self.0["key_sets"][name].to_string()
    }

    pub(crate) fn token(&self, name: &str) -> &str {
        let (_, token, _) = self.all().find(|(found, ..)| *found == name).unwrap();
        token
    }

    /// Returns name, token and reason of each token that is refused at any time.
    pub(crate) fn refused(&self) -> impl Iterator<Item = (&str, &str, &str)> {
        self.all().filter(|(.., reason)| *reason != "ok")
    }

    fn all(&self) -> impl Iterator<Item = (&str, &str, &str)> {
        let tokens = self.0["tokens"].as_array().unwrap().iter();
        tokens.map(|token| {
            let text = |name: &str| token[name].as_str().unwrap();
            (text("name"), text("token"), text("result"))
        })
    }
}

impl Cluster {
    /// Starts both with this key set.
    pub(crate) async fn start(served: &'static str) -> Self {
        Self::start_with(served, |_| {}).await
    }

    pub(crate) async fn start_with(served: &'static str, change: impl FnOnce(&mut Setup)) -> Self {
        let served = Arc::new(Mutex::new(served));
        let (now, vectors) = (Arc::clone(&served), Vectors::read());
        let keys = StandIn::start(move |_| match *now.lock() {
            "" => (503, "busy".to_owned()),
            name => (200, vectors.key_set(name)),
        })
        .await;
        let folder = clients();
        let file = folder.path().join("clients.toml");
        let before = fs::read_to_string(&file).unwrap();
        fs::write(&file, before + &client("training/scheduler")).unwrap();
        let gateway = TestGateway::start(|setup| {
            guard(setup, folder.path());
            setup.set("reload.interval", "50ms");
            setup.set("auth.kubernetes.issuer", Vectors::read().issuer());
            setup.set("auth.kubernetes.jwks_url", &format!("{}/keys", keys.url()));
            change(setup);
        })
        .await;
        let gateway = Guarded { gateway, folder };
        Self {
            gateway,
            keys,
            served,
        }
    }

    /// Gives the client another service account.
    pub(crate) fn rewrite_clients(&self, account: &str) {
        let file = self.gateway.folder.path().join("clients.toml");
        let text = fs::read_to_string(&file).unwrap();
        let (before, _) = text.split_once("\n[[client]]\nname = \"pods\"").unwrap();
        fs::write(&file, before.to_owned() + &client(account)).unwrap();
    }

    pub(crate) async fn get(&self, target: &str, header: (&str, &str)) -> Answer {
        let gateway = &self.gateway.gateway;
        gateway.request(Method::GET, target, &[header], "").await
    }

    pub(crate) async fn bearer(&self, target: &str, token: &str) -> Answer {
        let bearer = format!("Bearer {token}");
        self.get(target, ("authorization", &bearer)).await
    }

    /// Returns the number of requests that were refused for a reason.
    pub(crate) async fn refused(&self, reason: &str) -> f64 {
        let labels = [("reason", reason)];
        self.metric("pai_gateway_sign_ins_refused_total", &labels)
            .await
    }

    pub(crate) async fn metric(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        sample(&self.page("/metrics").await.text(), name, labels)
    }

    pub(crate) async fn page(&self, target: &str) -> Answer {
        let admin = &self.gateway.gateway.app.admin;
        let token = [("authorization", "Bearer admin-token")];
        ask(admin, Method::GET, target, &token, "").await
    }
}

fn client(account: &str) -> String {
    format!(
        "\n[[client]]\nname = \"pods\"\nservice_account = \"{account}\"\npermissions = [\"get\"]\nworkspaces = [\"15945\"]\nofficial = true\n"
    )
}
