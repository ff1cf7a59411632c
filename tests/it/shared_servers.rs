//! The servers for tests of the shared cache behave as intended.

use std::path::Path;

use tempfile::TempDir;

use crate::support::redis::{Cluster, Files, Kind, Listen, Pair, Persistence, Redis};
use crate::support::tls::{Authority, Hello, VERSIONS, hello};

const PLAIN: Hello<'_> = Hello {
    versions: &VERSIONS,
    alpn: "",
    identity: None,
};

async fn set(redis: &Redis) {
    assert_eq!(redis.command(&["SET", "key", "value"]).await, "OK");
}

async fn value(redis: &Redis) -> String {
    redis.command(&["GET", "key"]).await
}

#[tokio::test]
async fn a_server_answers_and_dies_when_it_is_dropped() {
    for kind in Kind::ALL {
        let Some(redis) = Redis::start(kind, |_| {}).await else {
            continue;
        };
        assert_eq!(redis.command(&["PING"]).await, "PONG");
        let process = format!("/proc/{}", redis.id());
        assert!(Path::new(&process).exists());
        drop(redis);
        assert!(!Path::new(&process).exists());
    }
}

#[tokio::test]
async fn a_restarted_server_keeps_its_address_and_its_data() {
    for kind in Kind::ALL {
        for (persistence, kept) in [
            (Persistence::Nothing, ""),
            (Persistence::Snapshots, "value"),
            (Persistence::Log, "value"),
        ] {
            let started = Redis::start(kind, |options| options.persistence = persistence).await;
            let Some(mut redis) = started else { continue };
            set(&redis).await;
            if persistence == Persistence::Snapshots {
                redis.command(&["SAVE"]).await;
            }
            let (url, before) = (redis.url(), redis.id());
            redis.restart().await;
            assert_eq!(redis.url(), url);
            assert_ne!(redis.id(), before);
            assert_eq!(value(&redis).await, kept, "{kind:?}, {persistence:?}");
            tokio::net::TcpStream::connect(redis.address())
                .await
                .unwrap();
        }
    }
}

#[tokio::test]
async fn a_paused_server_is_connected_to_and_does_not_answer() {
    let Some(redis) = Redis::start(Kind::Redis, |_| {}).await else {
        return;
    };
    redis.pause();
    tokio::net::TcpStream::connect(redis.address())
        .await
        .unwrap();
    let words = ["PING"];
    let answer = redis.command(&words);
    let short = std::time::Duration::from_millis(50);
    assert!(tokio::time::timeout(short, answer).await.is_err());
    redis.resume();
    assert_eq!(redis.command(&["PING"]).await, "PONG");
}

#[tokio::test]
async fn a_cluster_forms_and_each_key_has_its_node() {
    for kind in Kind::ALL {
        let Some(cluster) = Cluster::start(kind, |_| {}).await else {
            continue;
        };
        assert!(cluster.url().starts_with("redis://127.0.0.1:"));
        let serving = cluster.serving("key").await;
        set(&cluster.nodes[serving]).await;
        let elsewhere = &cluster.nodes[(serving + 1) % 3];
        let moved = elsewhere.ask(&["GET", "key"]).await.unwrap_err();
        let address = cluster.nodes[serving].address();
        assert!(
            moved.starts_with("MOVED ") && moved.ends_with(&address),
            "{moved}"
        );
    }
}

#[tokio::test]
async fn a_replica_takes_its_primarys_place() {
    for kind in Kind::ALL {
        let Some(mut pair) = Pair::start(kind, |_| {}).await else {
            continue;
        };
        set(&pair.primary).await;
        pair.catch_up().await;
        let url = pair.primary.url();
        pair.fail_over().await;
        assert_eq!(pair.primary.url(), url);
        assert_eq!(value(&pair.primary).await, "value");
        tokio::net::TcpStream::connect(pair.primary.address())
            .await
            .unwrap();
    }
}

/// An authority, and the files of a server that is `localhost`.
fn certificate() -> (Authority, TempDir, Files) {
    let folder = tempfile::tempdir().unwrap();
    let authority = Authority::new();
    authority.issue(&["localhost"]).write(folder.path());
    std::fs::write(folder.path().join("ca.crt"), &authority.pem).unwrap();
    let file = |name: &str| folder.path().join(name);
    let files = Files {
        certificate: file("tls.crt"),
        key: file("tls.key"),
        authority: file("ca.crt"),
    };
    (authority, folder, files)
}

#[tokio::test]
async fn a_server_with_a_certificate_shakes_hands() {
    let (authority, _folder, files) = certificate();
    for kind in Kind::ALL.into_iter().filter(|kind| kind.speaks_tls()) {
        let started = Redis::start(kind, |options| options.tls = Some(files.clone())).await;
        let Some(redis) = started else { continue };
        assert!(redis.url().starts_with("rediss://localhost:"));
        let address = redis.address().parse().unwrap();
        hello(address, &authority, &PLAIN).await.unwrap();
    }
}

/// Its port, certificate and users are others here; all else is as it is deployed.
#[tokio::test]
async fn the_deployed_configuration_is_one_that_servers_take() {
    let deploy = Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy");
    let users = std::fs::read_to_string(deploy.join("redis/users.acl")).unwrap();
    let (_authority, _folder, files) = certificate();
    for kind in Kind::ALL.into_iter().filter(|kind| kind.speaks_tls()) {
        let started = Redis::start(kind, |options| {
            options.file = Some(deploy.join("kubernetes/shared/shared-cache/valkey.conf"));
            options.tls = Some(files.clone());
            options.users = Some(users.replace("${PASSWORD}", "secret"));
        });
        let Some(redis) = started.await else { continue };
        for (directive, value) in [
            ("port", "0"),
            ("save", ""),
            ("maxmemory", "201326592"),
            ("maxmemory-policy", "volatile-lru"),
        ] {
            let reply = redis.command(&["CONFIG", "GET", directive]).await;
            assert_eq!(reply, format!("{directive}\n{value}"));
        }
    }
}

#[tokio::test]
async fn the_access_list_decides_who_may_run_a_command() {
    for kind in Kind::ALL {
        let started = Redis::start(kind, |options| options.password = Some("p".to_owned())).await;
        let Some(redis) = started else { continue };
        set(&redis).await;
        let users = "user default off\nuser gateway on >p ~pai:* +get";
        let limited = Redis::start(kind, |options| options.users = Some(users.to_owned())).await;
        let limited = limited.unwrap();
        let dry = ["ACL", "DRYRUN", "gateway", "SET", "pai:1", "value"];
        assert!(limited.command(&dry).await.contains("no permissions"));
        let dry = ["ACL", "DRYRUN", "gateway", "GET", "pai:1"];
        assert_eq!(limited.command(&dry).await, "OK");
    }
}

#[tokio::test]
async fn a_server_on_a_socket_has_no_port_and_evicts_beyond_its_memory() {
    for kind in Kind::ALL {
        let started = Redis::start(kind, |options| {
            options.listen = Listen::Socket;
            options.max_memory = Some(("8mb".to_owned(), "allkeys-lru".to_owned()));
        });
        let Some(redis) = started.await else { continue };
        assert!(redis.url().starts_with("redis+unix:///"), "{}", redis.url());
        assert_eq!((redis.port, redis.address()), (0, "127.0.0.1:0".to_owned()));
        let value = "x".repeat(1 << 20);
        for key in 0..12 {
            redis.command(&["SET", &key.to_string(), &value]).await;
        }
        let evicted = redis.command(&["INFO", "stats"]).await;
        assert!(!evicted.contains("evicted_keys:0\r"), "{evicted}");
    }
}
