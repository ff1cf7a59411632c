//! The commands beside `serve`.

mod clients;
mod emulate;
mod json;
mod pages;
mod policy;
mod probe;
mod rehearse;
mod running;

use http::Method;
use pai_image_gateway::emulator::Store;
use pai_image_gateway::environment::Environment;

use crate::process::{flags, origin, serving, settings};
use crate::support::{
    KEY_ID, KEY_SECRET, ONE_CROWD, Process, address, ask, environment, path, run,
};

#[tokio::test]
async fn version_names_the_commit() {
    let version = run(&Environment::new(), &["--version"]).await;
    assert_eq!(version.code, 0);
    let text = version.stdout.trim();
    let expected = format!("pai-image-gateway {} (", env!("CARGO_PKG_VERSION"));
    assert!(text.starts_with(&expected) && text.ends_with(')'), "{text}");
    assert!(text.len() > expected.len() + 1, "{text}");
}

#[tokio::test]
async fn an_unknown_command_ends_with_2() {
    let refused = run(&Environment::new(), &["srve"]).await;
    assert_eq!(refused.code, 2);
    assert!(refused.stderr.contains("serve"), "{}", refused.stderr);
}

#[tokio::test]
async fn check_accepts_valid_settings() {
    let checked = run(&environment(), &["check"]).await;
    assert_eq!(checked.code, 0, "{}", checked.stdout);
    assert!(
        checked.stdout.contains("LTAI****ests"),
        "{}",
        checked.stdout
    );
    let output = checked.stdout + &checked.stderr;
    assert!(!output.contains(KEY_ID) && !output.contains(KEY_SECRET));
}

#[tokio::test]
async fn check_reports_every_problem_and_ends_with_2() {
    let without = run(&Environment::new(), &["check"]).await;
    assert_eq!(without.code, 2);
    let text = without.stdout + &without.stderr;
    assert!(text.contains("ALIBABA_CLOUD_ACCESS_KEY_ID"), "{text}");
    let bad = ["listen.address=x", "freshness.max=x"].map(str::to_owned);
    let refused = run(&environment(), &[vec!["check"], flags(&bad)].concat()).await;
    assert_eq!(refused.code, 2);
    let text = refused.stdout + &refused.stderr;
    for key in ["listen.address", "freshness.max"] {
        assert!(text.contains(key), "{text}");
    }
}

#[tokio::test]
async fn check_makes_a_signed_call_to_an_emulator_process() {
    let folder = tempfile::tempdir().unwrap();
    let secret = folder.path().join("secret");
    std::fs::write(&secret, KEY_SECRET).unwrap();
    let secret = secret.to_str().unwrap();
    let emulate = [
        "emulate",
        "--listen",
        "127.0.0.1:0",
        "--access-key-id",
        KEY_ID,
        "--access-key-secret-file",
        secret,
    ];
    let (mut emulator, ports) = Process::serve(&Environment::new(), &emulate).await;
    let origin = address(&ports, "listen");
    let endpoint = format!("upstream.endpoint=http://{origin}");
    let settings = [endpoint, "upstream.allow_http=true".to_owned()];
    let call = |id: &str| {
        [vec!["check", "--call", id], flags(&settings)]
            .concat()
            .join(" ")
    };
    let id = Store::id(1);
    let arguments = call(&id);
    let arguments: Vec<_> = arguments.split(' ').collect();
    let checked = run(&environment(), &arguments).await;
    assert_eq!(checked.code, 0, "{}", checked.stdout);
    assert!(checked.stdout.contains(&id), "{}", checked.stdout);
    let counts = ask(&origin, Method::GET, "/emulator/counts", &[], "").await;
    assert_eq!(counts.json()["operations"]["GetImage"], 1);

    let mut wrong = environment();
    let name = "ALIBABA_CLOUD_ACCESS_KEY_SECRET".to_owned();
    wrong.insert(name, "wrong-secret".to_owned());
    let refused = run(&wrong, &arguments).await;
    assert_eq!(refused.code, 2, "{}", refused.stdout);
    assert!(!(refused.stdout + &refused.stderr).contains("wrong-secret"));
    emulator.terminate();
    assert_eq!(emulator.wait().await.code(), Some(0));
}

#[tokio::test]
async fn config_prints_each_settings_source_and_no_secret() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("gateway.toml");
    let text = "[freshness]\nmax = \"20m\"\nmin = \"10s\"\nfactor = 0.2\n";
    std::fs::write(&file, text).unwrap();
    let mut environment = environment();
    let name = "PAI_GATEWAY__FRESHNESS__MIN".to_owned();
    environment.insert(name, "20s".to_owned());
    let file = file.to_str().unwrap();
    let arguments = ["config", "--config", file, "--set", "freshness.factor=0.3"];
    let printed = run(&environment, &arguments).await;
    assert_eq!(printed.code, 0, "{}", printed.stderr);
    for line in [
        format!("max = \"20m\"  # from file {file}\n"),
        "min = \"20s\"  # from variable PAI_GATEWAY__FRESHNESS__MIN\n".to_owned(),
        "factor = 0.3  # from flag --set\n".to_owned(),
        "writes = false\n".to_owned(),
    ] {
        assert!(printed.stdout.contains(&line), "{line}{}", printed.stdout);
    }
    assert!(!printed.stdout.contains(KEY_SECRET) && !printed.stdout.contains(KEY_ID));
}

#[tokio::test]
async fn ttl_prints_the_decision_and_why() {
    let arguments = [
        "ttl",
        "--modified",
        "2026-11-23T11:40:00Z",
        "--date",
        "2026-11-23T12:00:00Z",
    ];
    let explained = run(&Environment::new(), &arguments).await;
    assert_eq!(explained.code, 0, "{}", explained.stderr);
    let field = |name: &str| {
        let line = explained.stdout.lines().find(|line| line.starts_with(name));
        line.unwrap().trim_start_matches(name).trim().to_owned()
    };
    assert_eq!(field("ttl "), "2m");
    assert_eq!(field("base"), "2m");
    assert_eq!(field("source"), "heuristic");
    assert_eq!(field("ceiling"), "1h");
    assert!(
        explained.stdout.contains("20m before the answer"),
        "{}",
        explained.stdout
    );
}

#[tokio::test]
async fn healthcheck_and_purge_ask_a_running_gateway() {
    let emulator = origin().await;
    let (_process, ports) = serving(&emulator, &[]).await;
    let (data, admin) = (address(&ports, "listen"), ports["admin"].as_str().unwrap());
    let healthy = run(&Environment::new(), &["healthcheck", "--admin", admin]).await;
    assert_eq!(healthy.code, 0, "{}", healthy.stderr);
    let (id, other) = (Store::id(1), Store::id(2));
    for id in [&id, &other] {
        ask(&data, Method::GET, &path(id), &[], "").await.found();
    }
    let purge = ["purge", "--image", &id, "--admin", admin];
    for expected in ["purged 1 ", "purged 0 "] {
        let purged = run(&Environment::new(), &purge).await;
        assert_eq!(purged.code, 0, "{}", purged.stderr);
        assert!(purged.stdout.contains(expected), "{}", purged.stdout);
    }
    for (id, fetches) in [(&id, 2), (&other, 1)] {
        ask(&data, Method::GET, &path(id), &[], "").await.found();
        assert_eq!(emulator.fetches(id), fetches);
    }
    let unclear = run(&Environment::new(), &["purge", "--admin", admin]).await;
    assert_eq!(unclear.code, 2);
    let none = run(
        &Environment::new(),
        &["purge", "--image", "a/b", "--admin", admin],
    )
    .await;
    assert_eq!(none.code, 1, "{}", none.stderr);
}

#[tokio::test]
async fn healthcheck_ends_with_1_where_no_gateway_is_ready() {
    let emulator = origin().await;
    let settings = settings(&emulator);
    let arguments = [vec!["serve"], flags(&settings)].concat();
    let (_process, ports) = Process::serve(&Environment::new(), &arguments).await;
    let admin = ports["admin"].as_str().unwrap();
    let waiting = run(&Environment::new(), &["healthcheck", "--admin", admin]).await;
    assert_eq!(waiting.code, 1);
    assert!(waiting.stderr.contains("credential"), "{}", waiting.stderr);
    // A port on which no process listens: it was free a moment ago.
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let nobody = free.local_addr().unwrap().to_string();
    drop(free);
    let unreachable = run(&Environment::new(), &["healthcheck", "--admin", &nobody]).await;
    assert_eq!(unreachable.code, 1);
}

#[tokio::test]
async fn the_demo_runs_through() {
    let _alone = ONE_CROWD.lock().await;
    let demo = run(&Environment::new(), &["demo", "--once"]).await;
    assert_eq!(demo.code, 0, "{}", demo.stderr);
    assert!(demo.stdout.contains("upstream calls"), "{}", demo.stdout);
    // Answers at the first try, calls to the origin, and throttled ones, of 200 images at 50 calls a second.
    let [_, calls_without, throttled_without] = figures(&demo.stdout, "without a catalogue");
    let [first, calls, throttled] = figures(&demo.stdout, "with a catalogue");
    assert_eq!([throttled_without, throttled], [0, 0], "{}", demo.stdout);
    assert_eq!(first, 200, "{}", demo.stdout);
    assert!(calls_without >= 200 && calls * 4 <= calls_without && calls > 0);
}

/// Returns the first three numbers of a row.
fn figures(table: &str, row: &str) -> [u64; 3] {
    let numbers = table.lines().find_map(|line| line.strip_prefix(row));
    let mut numbers = numbers.unwrap().split_whitespace();
    [(); 3].map(|()| numbers.next().unwrap().parse().unwrap())
}
