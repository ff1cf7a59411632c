//! The command `check`, for service accounts.

use std::fs;

use pai_image_gateway::environment::Environment;

use super::stand_in::{Cluster, Vectors};
use crate::process::flags;
use crate::support::run;

async fn check(settings: &[String]) -> (i32, String) {
    let checked = run(
        &Environment::new(),
        &[vec!["check"], flags(settings)].concat(),
    )
    .await;
    (checked.code, checked.stdout + &checked.stderr)
}

#[tokio::test]
async fn check_prints_what_a_childs_token_states_and_what_its_parent_needs() {
    let (cluster, vectors) = (Cluster::start("first").await, Vectors::read());
    let file = cluster.gateway.folder.path().join("child.token");
    let settings = [
        "upstream.kind=gateway".to_owned(),
        "upstream.allow_http=true".to_owned(),
        format!(
            "upstream.endpoint=http://{}",
            cluster.gateway.gateway.app.data
        ),
        "credentials.source=token_file".to_owned(),
        format!("credentials.token_file={}", file.display()),
    ];
    fs::write(&file, vectors.token("good")).unwrap();
    let (code, text) = check(&settings).await;
    assert_eq!(code, 0, "{text}");
    for expected in [
        "sub system:serviceaccount:training:scheduler",
        &format!("auth.kubernetes.issuer = \"{}\"", vectors.issuer()),
        "auth.kubernetes.audience = \"pai-image-gateway\"",
        "service_account = \"training/scheduler\"",
        "from token_file, until 2100-01-01T00:00:00Z",
    ] {
        assert!(text.contains(expected), "{expected}: {text}");
    }
    assert!(!text.contains(vectors.token("good")), "{text}");
    fs::write(&file, vectors.token("expired")).unwrap();
    let (code, text) = check(&settings).await;
    assert!(code == 2 && text.contains("expired"), "{text}");
    fs::remove_file(&file).unwrap();
    let (code, text) = check(&settings).await;
    assert!(
        code == 2 && text.contains("credentials.token_file"),
        "{text}"
    );
}

#[tokio::test]
async fn check_loads_the_clusters_keys() {
    let cluster = Cluster::start("all").await;
    let place = |name: &str| {
        cluster
            .gateway
            .folder
            .path()
            .join(name)
            .display()
            .to_string()
    };
    let settings = [
        "auth.mode=required".to_owned(),
        format!("auth.clients_file={}", place("clients.toml")),
        format!("auth.kubernetes.issuer={}", Vectors::read().issuer()),
        format!("auth.kubernetes.jwks_url={}/keys", cluster.keys.url()),
    ];
    let (_, text) = check(&settings).await;
    let expected = "aud \"pai-image-gateway\"; keys loaded: 4";
    assert!(text.contains(expected), "{text}");
    *cluster.served.lock() = "";
    let (code, text) = check(&settings).await;
    let expected = "auth.kubernetes: the server of the keys refused with status 503";
    assert!(code == 2 && text.contains(expected), "{text}");
    let (code, text) = check(&settings[..2]).await;
    let expected = "set auth.kubernetes.issuer";
    assert!(
        code == 2 && text.contains(expected) && text.contains("\"pods\""),
        "{text}"
    );
}
