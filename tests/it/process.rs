//! The gateway as a process: start, stop by signals, and failures to start.

use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use http::Method;
use pai_image_gateway::emulator::{Emulator, FaultKind, Settings, Store};
use pai_image_gateway::environment::Environment;
use pai_image_gateway::server::Address;
use serde_json::Value;

use crate::support::{
    Connection, KEY_ID, KEY_SECRET, Process, address, ask, environment, eventually, path, run,
    times,
};

pub(crate) async fn origin() -> Emulator {
    let settings = Settings {
        access_key_id: KEY_ID.to_owned(),
        access_key_secret: KEY_SECRET.into(),
        ..Settings::default()
    };
    Emulator::start(settings).await.unwrap()
}

/// `--set` for each setting.
pub(crate) fn flags(settings: &[String]) -> Vec<&str> {
    settings
        .iter()
        .flat_map(|setting| ["--set", setting.as_str()])
        .collect()
}

pub(crate) fn settings(emulator: &Emulator) -> Vec<String> {
    [
        "listen.address=127.0.0.1:0",
        "admin.address=127.0.0.1:0",
        "upstream.allow_http=true",
        "shutdown.lame_duck=0s",
        &format!("upstream.endpoint=http://{}", emulator.address()),
    ]
    .map(str::to_owned)
    .into()
}

/// A gateway process in front of an emulator in this one.
pub(crate) async fn serving(emulator: &Emulator, more: &[&str]) -> (Process, Value) {
    let mut settings = settings(emulator);
    settings.extend(more.iter().map(|setting| (*setting).to_owned()));
    let arguments = [vec!["serve"], flags(&settings)].concat();
    Process::serve(&environment(), &arguments).await
}

async fn get(address: &Address, target: &str) -> crate::support::Answer {
    ask(address, Method::GET, target, &[], "").await
}

#[tokio::test]
async fn it_serves_until_sigterm_and_exits_cleanly() {
    let emulator = origin().await;
    let (mut process, ports) = serving(&emulator, &[]).await;
    let (data, admin) = (address(&ports, "listen"), address(&ports, "admin"));
    assert_eq!(ports["observe"], Value::Null);
    let answer = get(&data, &path(&Store::id(1))).await;
    assert_eq!(answer.found()["ImageId"], Store::id(1));
    assert_eq!(get(&admin, "/readyz").await.status, 200);
    process.terminate();
    assert_eq!(process.wait().await.code(), Some(0));
    let logs = process.output("stderr") + &process.output("stdout");
    assert!(
        !logs.contains(KEY_SECRET) && !logs.contains(KEY_ID),
        "{logs}"
    );
}

#[tokio::test]
async fn a_request_under_way_at_sigterm_is_answered() {
    let emulator = origin().await;
    let slow = FaultKind::Latency(Duration::from_millis(800));
    emulator.script(vec![times(1, slow)]);
    let (mut process, ports) = serving(&emulator, &[]).await;
    let mut connection = Connection::open(&address(&ports, "listen")).await;
    let target = path(&Store::id(1));
    let terminated = async {
        eventually("the origin is called", async || {
            emulator.fetches(&Store::id(1)) == 1
        })
        .await;
        process.terminate();
    };
    let (answer, ()) = tokio::join!(connection.get(&target), terminated);
    assert_eq!(answer.found()["ImageId"], Store::id(1));
    assert_eq!(answer.header("connection"), "close");
    assert_eq!(process.wait().await.code(), Some(0));
}

#[tokio::test]
async fn while_draining_it_is_not_ready_but_still_accepts() {
    let emulator = origin().await;
    let (mut process, ports) = serving(&emulator, &["shutdown.lame_duck=2s"]).await;
    let (data, admin) = (address(&ports, "listen"), address(&ports, "admin"));
    process.terminate();
    eventually("it is not ready", async || {
        get(&admin, "/readyz").await.status == 503
    })
    .await;
    assert_eq!(get(&admin, "/livez").await.status, 200);
    assert_eq!(get(&data, &path(&Store::id(1))).await.status, 200);
    assert_eq!(process.wait().await.code(), Some(0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sigterm_under_busy_connections_loses_no_request() {
    let emulator = origin().await;
    let (mut process, ports) = serving(&emulator, &[]).await;
    let (data, answered) = (address(&ports, "listen"), Arc::new(AtomicUsize::new(0)));
    let clients: Vec<_> = (0..64)
        .map(|index| {
            let (data, answered) = (data.clone(), Arc::clone(&answered));
            tokio::spawn(async move {
                let mut connection = Connection::open(&data).await;
                let target = path(&Store::id(index));
                // Until a response announces the end of the connection, a client may rely on it.
                loop {
                    let answer = connection.try_send(Method::GET, &target, &[], "").await;
                    let answer = answer.unwrap();
                    assert_eq!(answer.status, 200);
                    answered.fetch_add(1, Ordering::Relaxed);
                    if answer.header("connection") == "close" {
                        break;
                    }
                }
            })
        })
        .collect();
    eventually("all are busy", async || {
        answered.load(Ordering::Relaxed) > 1000
    })
    .await;
    process.terminate();
    for client in clients {
        client.await.unwrap();
    }
    assert_eq!(process.wait().await.code(), Some(0));
}

#[tokio::test]
async fn every_bad_setting_is_reported_at_once_and_no_value() {
    let mut environment = environment();
    let misplaced = "PAI_GATEWAY__CREDENTIALS__ACCESS_KEY_SECRET".to_owned();
    environment.insert(misplaced, "secret-in-the-wrong-place".to_owned());
    let refused = run(
        &environment,
        &[
            "serve",
            "--set",
            "listen.address=value-one",
            "--set",
            "freshness.max=value-two",
            "--set",
            "freshness.mxa=1h",
            "--set",
            "upstream.endpoint=http://127.0.0.1:1",
        ],
    )
    .await;
    assert_eq!(refused.code, 2);
    for part in [
        "listen.address (flag --set)",
        "freshness.max (flag --set)",
        "freshness.mxa (flag --set)",
        "the nearest is freshness.max",
        "upstream.endpoint (flag --set)",
        "PAI_GATEWAY__CREDENTIALS__ACCESS_KEY_SECRET",
    ] {
        assert!(refused.stderr.contains(part), "{part}: {}", refused.stderr);
    }
    let output = refused.stdout + &refused.stderr;
    for value in [
        "secret-in-the-wrong-place",
        "value-one",
        "value-two",
        KEY_SECRET,
    ] {
        assert!(!output.contains(value), "{value}: {output}");
    }
}

#[tokio::test]
async fn without_authentication_it_listens_to_this_machine_alone() {
    let refused = run(
        &environment(),
        &["serve", "--set", "listen.address=0.0.0.0:0"],
    )
    .await;
    assert_eq!(refused.code, 2);
    let says = "listen.address (flag --set): with auth.mode = \"none\" everybody who reaches this address \
                can read every image of the account: write auth.mode = \"required\", or listen on \
                127.0.0.1, [::1] or a Unix socket (listen.unix)";
    assert!(refused.stderr.contains(says), "{}", refused.stderr);
}

#[tokio::test]
async fn a_taken_port_ends_it_with_1() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let emulator = origin().await;
    let mut settings = settings(&emulator);
    settings.push(format!("listen.address={}", taken.local_addr().unwrap()));
    let refused = run(
        &Environment::new(),
        &[vec!["serve"], flags(&settings)].concat(),
    )
    .await;
    assert_eq!(refused.code, 1);
    let port = taken.local_addr().unwrap().to_string();
    assert_eq!(
        refused.stderr.matches(&port).count(),
        1,
        "{}",
        refused.stderr
    );
    assert_eq!(refused.stderr.lines().count(), 1, "{}", refused.stderr);
    for part in ["listen.address: ", "set listen.address to another"] {
        assert!(refused.stderr.contains(part), "{part}: {}", refused.stderr);
    }
}
