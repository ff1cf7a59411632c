//! Every kind of server: with TLS, on a socket, as a cluster, with an access list, and as
//! a pair of which one fails.

use std::sync::Arc;

use pai_image_gateway::emulator::{Emulator, Store};

use super::{Fleet, an_image, await_up, origin, replica};
use crate::support::redis::{Cluster, Files, Kind, Listen, Options, Pair};
use crate::support::tls::Authority;
use crate::support::{TestGateway, environment, eventually, run};

/// Asserts that two replicas share a fetch and a purge.
async fn they_share(origin: &Emulator, replicas: [&TestGateway; 2]) {
    they_share_from(0, origin, replicas).await;
}

/// The same with the images from this one on.
async fn they_share_from(first: usize, origin: &Emulator, [one, other]: [&TestGateway; 2]) {
    await_up(one, 1.0).await;
    await_up(other, 1.0).await;
    for index in first..first + 10 {
        let id = Store::id(index);
        let before = origin.fetches(&id);
        assert_eq!(one.image(&id).await.status, 200);
        assert_eq!(other.image(&id).await.status, 200);
        assert_eq!(origin.fetches(&id), before + 1, "{id}");
    }
    one.purge(r#"{"all":true}"#).await;
    eventually("the purge is applied", async || {
        other.page("/status").await["cache"]["entries"] == 0
    })
    .await;
    let id = Store::id(first);
    let before = origin.fetches(&id);
    assert_eq!(other.image(&id).await.status, 200);
    assert_eq!(one.image(&id).await.status, 200);
    assert_eq!(origin.fetches(&id), before + 1);
}

#[tokio::test]
async fn by_a_unix_socket() {
    for kind in Kind::ALL {
        let by_socket = |options: &mut Options| options.listen = Listen::Socket;
        if let Some(fleet) = Fleet::with(kind, 2, by_socket, |_| {}).await {
            they_share(&fleet.origin, [&fleet.replicas[0], &fleet.replicas[1]]).await;
        }
    }
}

#[tokio::test]
async fn by_tls_from_both_sides() {
    let (authority, stranger) = (Authority::new(), Authority::new());
    let place = tempfile::tempdir().unwrap();
    let file = |name: &str, text: &str| {
        let path = place.path().join(name);
        std::fs::write(&path, text).unwrap();
        path
    };
    let (server, client) = (
        authority.issue(&["localhost"]),
        authority.issue(&["gateway"]),
    );
    let files = Files {
        certificate: file("server.crt", &server.certificate),
        key: file("server.key", &server.key),
        authority: file("ca.crt", &authority.pem),
    };
    let own = [("cert", &client.certificate), ("key", &client.key)]
        .map(|(name, pem)| (name, file(name, pem).to_str().unwrap().to_owned()));
    let foreign = file("stranger.crt", &stranger.pem);
    for kind in Kind::ALL.into_iter().filter(|kind| kind.speaks_tls()) {
        let by_tls = |options: &mut Options| {
            options.tls = Some(files.clone());
            options.set("tls-auth-clients", "yes");
        };
        let known = |setup: &mut crate::support::Setup| {
            setup.set("shared_cache.ca_file", files.authority.to_str().unwrap());
            for (name, path) in &own {
                setup.set(&format!("shared_cache.{name}_file"), path);
            }
        };
        let Some(fleet) = Fleet::with(kind, 2, by_tls, known).await else {
            continue;
        };
        they_share(&fleet.origin, [&fleet.replicas[0], &fleet.replicas[1]]).await;
        // A server with a certificate of another authority is not used, and no request fails by it.
        let wary = replica(&fleet.origin, &fleet.redis.url(), |setup| {
            setup.set("shared_cache.ca_file", foreign.to_str().unwrap());
        })
        .await;
        assert_eq!(wary.image(&an_image()).await.status, 200);
        assert_eq!(wary.metric("pai_gateway_shared_cache_up", &[]).await, 0.0);
    }
}

#[tokio::test]
async fn as_a_cluster() {
    for kind in Kind::ALL {
        let Some(cluster) = Cluster::start(kind, |_| {}).await else {
            continue;
        };
        let origin = Arc::new(Emulator::start(origin()).await.unwrap());
        let in_cluster =
            |setup: &mut crate::support::Setup| setup.set("shared_cache.cluster", "true");
        let one = replica(&origin, &cluster.url(), in_cluster).await;
        let other = replica(&origin, &cluster.url(), in_cluster).await;
        they_share(&origin, [&one, &other]).await;
    }
}

#[tokio::test]
async fn behind_an_access_list_with_the_least_commands() {
    let list = include_str!("../../../deploy/redis/users.acl");
    let list = list.replace("${PASSWORD}", "secret-of-the-tier");
    let place = tempfile::tempdir().unwrap();
    let file = place.path().join("password");
    std::fs::write(&file, "secret-of-the-tier\n").unwrap();
    for kind in Kind::EACH {
        let listed = |options: &mut Options| options.users = Some(list.clone());
        let user = |setup: &mut crate::support::Setup| {
            setup.set("shared_cache.username", "pai-image-gateway");
            setup.set("shared_cache.password_file", file.to_str().unwrap());
        };
        if let Some(fleet) = Fleet::with(kind, 2, listed, user).await {
            they_share(&fleet.origin, [&fleet.replicas[0], &fleet.replicas[1]]).await;
            for (operation, result) in [("get", "error"), ("put", "error"), ("release", "error")] {
                assert_eq!(fleet.count(operation, result).await, 0.0, "{operation}");
            }
            assert_eq!(fleet.redis.command(&["ACL", "LOG"]).await, "");
        }
    }
}

#[tokio::test]
async fn when_a_replica_takes_the_place_of_a_primary() {
    let Some(mut pair) = Pair::start(Kind::Redis, |_| {}).await else {
        return;
    };
    let origin = Arc::new(Emulator::start(origin()).await.unwrap());
    let one = replica(&origin, &pair.primary.url(), |_| {}).await;
    let other = replica(&origin, &pair.primary.url(), |_| {}).await;
    they_share(&origin, [&one, &other]).await;
    pair.catch_up().await;
    pair.fail_over().await;
    // Whether or not the loss is known yet, all is answered.
    for index in 0..20 {
        assert_eq!(one.image(&Store::id(index)).await.status, 200);
    }
    // Others than those that are being fetched again.
    they_share_from(30, &origin, [&one, &other]).await;
    let name = "pai_gateway_shared_cache_discontinuities_total";
    assert_eq!(one.metric(name, &[]).await, 0.0, "the log went on");
}

#[tokio::test]
async fn check_tells_whether_the_server_would_do() {
    let list = "user default on nopass resetkeys ~pai:1:* resetchannels &pai:1:* +@all -xadd";
    let listed = |options: &mut Options| options.users = Some(list.to_owned());
    let (Some(strict), Some(open)) = (
        crate::support::redis::Redis::start(Kind::Redis, listed).await,
        crate::support::redis::Redis::start(Kind::Redis, |_| {}).await,
    ) else {
        return;
    };
    let check = async |url: &str| {
        let url = format!("shared_cache.url={url}");
        let arguments = ["check", "--set", "credentials.source=env", "--set", &url];
        let checked = run(&environment(), &arguments).await;
        (checked.code, checked.stdout)
    };
    let (code, output) = check(&open.url()).await;
    assert_eq!(code, 0, "{output}");
    assert!(
        output.contains("ok   the shared cache allows every command"),
        "{output}"
    );
    let (code, output) = check(&strict.url()).await;
    assert_eq!(code, 2, "{output}");
    assert!(
        output.contains("FAIL shared_cache: the server refuses a command")
            && output.contains("xadd"),
        "{output}"
    );
    let (code, output) = check("redis://127.0.0.1:1").await;
    assert_eq!(code, 2, "{output}");
    assert!(
        output.contains("FAIL shared_cache: the server cannot be reached"),
        "{output}"
    );
}
